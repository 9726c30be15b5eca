"""Who acts: proofs of identity and their checking; not what an identity may do (L{hoopd.policy}).

The broker runs L{hoopd.identity.provider}; what comes from other parties' servers is fetched and parsed by
L{hoopd.identity.verifier} in a process of its own, which holds nothing.
"""
