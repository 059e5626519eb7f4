-- Walls of pictures that were saved; what is on each pane is text that the adapter of cameras reads.
create table walls (
    id text primary key,
    name text not null,
    panes bigint not null,
    slots text not null,
    owner text not null,
    shared boolean not null,
    created_at bigint not null,
    updated_at bigint not null
);
create index walls_owner on walls (owner);
