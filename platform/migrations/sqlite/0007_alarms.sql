-- What devices tell: alarms, until they are handled and for a while after, and where mobile ones have been.
create table alarms (
    id text primary key,
    source text not null,
    device text not null,
    device_name text not null,
    channel text,
    channel_name text not null,
    level bigint not null,
    cause text not null,
    kind text,
    description text not null,
    longitude double precision,
    latitude double precision,
    raised_at bigint not null,
    received_at bigint not null,
    last_at bigint not null,
    times bigint not null,
    handled boolean not null,
    handled_by text,
    handled_at bigint,
    note text not null
);
create index alarms_received on alarms (received_at, id);
create index alarms_open on alarms (handled, level);
create index alarms_device on alarms (device, received_at);

create table positions (
    source text not null,
    device text not null,
    channel text not null,
    measured_at bigint not null,
    name text not null,
    longitude double precision not null,
    latitude double precision not null,
    altitude double precision,
    speed double precision,
    direction double precision,
    primary key (source, device, channel, measured_at)
);
create index positions_measured on positions (measured_at);

alter table cameras add column kind text not null default 'camera';
alter table cameras add column longitude double precision;
alter table cameras add column latitude double precision;
create index cameras_url on cameras (url);
