"""L{hoopd.protocols.postgres.cutting} as Cython compiled it."""

from hoopd.protocols.postgres.cutting import COMPILED as COMPILED
from hoopd.protocols.postgres.cutting import mask_rows as mask_rows
from hoopd.protocols.postgres.cutting import pass_over as pass_over
from hoopd.protocols.postgres.cutting import run_end as run_end
