"""A small database as a catalogue, with masks over it, for the tests of analysis and lineage."""

from hoopd.sql.catalogue import Catalogue
from hoopd.values import Mask

TABLES = {
    ("customers", "r"): ("id:23", "name:25", "card:25", "email:25"),
    ("orders", "r"): ("id:23", "customer_id:23", "total:1700", "note:25"),
    ("cards_v", "v"): ("id:23", "pan:25"),
    ("vip", "r"): ("id:23", "name:25", "card:25", "tier:23"),
    ("vendors", "r"): ("id:23", "card:25"),
    ("remote", "f"): ("id:23", "anything:25"),
    ("names_v", "v"): ("id:23",),
    ("pan_v2", "v"): ("pan:25",),
}
OID = {name: 16400 + number for number, (name, _) in enumerate(TABLES)}


def catalogue(**changes: list) -> Catalogue:
    rows: dict[str, list] = {
        "session": [("public", "app", "150018", "UTF8", '"$user", public')],
        "schemas": [("app", "public"), ("app", "other"), ("app", "pg_catalog"), ("boss", "public"), ("boss", "boss")],
        "relations": [(str(OID[name]), "public", name, kind) for name, kind in TABLES],
        "columns": [
            (str(OID[name]), str(number), column.split(":")[0], column.split(":")[1], "f", "f")
            for (name, _), columns in TABLES.items()
            for number, column in enumerate(columns, 1)
        ],
        "inherits": [(str(OID["vip"]), str(OID["customers"]))],
        "views": [
            (str(OID["cards_v"]), str(OID["customers"])),
            (str(OID["pan_v2"]), str(OID["cards_v"])),
            (str(OID["names_v"]), str(OID["vendors"])),
        ],
        "view_functions": [],
        "functions": [("public", "purge_orders"), ("public", "lower")],
        "operators": [("?!",)],
        "ruled": [],
        "definitions": [
            (str(OID["cards_v"]), "SELECT customers.id, customers.card AS pan FROM public.customers"),
            (str(OID["pan_v2"]), "SELECT (cards_v.pan || '') AS pan FROM public.cards_v"),
            (str(OID["names_v"]), "SELECT vendors.id FROM public.vendors"),
        ],
    }
    rows.update(changes)
    return Catalogue.from_rows(rows)


CATALOGUE = catalogue()
CARD = Mask("m.mask.card", ("customers.card",), "last4")
EMAIL = Mask("m.mask.email", ("public.customers.email",), "hash", "equality")
MASKS = (CARD, EMAIL)
