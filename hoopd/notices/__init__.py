"""Notices: what approvers and officers are told, kept until it is delivered; the network talk is the notifier's."""
