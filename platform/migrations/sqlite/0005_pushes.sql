-- Streams that others may push to the server; the key is sealed, as a camera's password is.
create table pushes (
    id text primary key,
    name text not null,
    secret text not null,
    created_at bigint not null,
    updated_at bigint not null
);
