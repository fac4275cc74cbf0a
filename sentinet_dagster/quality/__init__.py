"""Data quality: what must hold of each relation, said once, held by SQL at run time and by GX in full."""
