-- Devices of GB/T 28181: those that were announced, and those that registered. A secret of a device's own is sealed,
-- as a camera's password is; without one the platform's holds.
create table gb28181_devices (
    code text primary key,
    name text not null,
    secret text,
    blocked boolean not null,
    described text not null,
    catalog text not null,
    seen_at bigint,
    created_at bigint not null,
    updated_at bigint not null
);
