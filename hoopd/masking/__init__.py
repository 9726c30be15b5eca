"""What is shown in place of a masked value; which values are masked is L{hoopd.sql.lineage}'s to say."""
