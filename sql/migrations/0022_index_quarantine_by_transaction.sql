-- Sums leave out what is set aside, as judgement does: a refresh reads every mark that is newer than itself, those of
-- facts that were judged without them too.
drop index surveillance.quarantined_facts_xid;
create index quarantined_facts_xid on surveillance.quarantined_facts (xid);
