-- Passwords that stood among the parameters of a camera's address, sealed.
alter table cameras add column url_secret text;

-- Repairs of stored data that code makes once; see platform/src/store/upkeep.rs.
create table upkeep (
    name text primary key,
    done_at bigint not null
);
