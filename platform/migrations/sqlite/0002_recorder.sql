-- Why a recording ended, empty when nothing special happened.
alter table recordings add column reason text not null default '';

-- Recordings that were running when the server went down; they go on when their room is back
-- before `until_ms`.
create table recordings_wanted (
    kind text not null,
    subject text not null,
    title text not null,
    started_by text not null,
    until_ms bigint not null,
    primary key (kind, subject)
);
