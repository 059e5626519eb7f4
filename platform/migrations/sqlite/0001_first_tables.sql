-- Times are bigint milliseconds since 1970-01-01 UTC; ids come from the application.

create table people (
    id text primary key,
    account text not null,
    name text not null,
    role text not null,
    password text not null,
    must_change_password boolean not null,
    disabled boolean not null,
    failed_count bigint not null,
    locked_until bigint,
    created_at bigint not null,
    updated_at bigint not null,
    last_sign_in_at bigint
);
create unique index people_account on people (account);

-- Only the SM3 of a session's token is kept.
create table sessions (
    id text primary key,
    token_hash text not null,
    person_id text not null,
    created_at bigint not null,
    seen_at bigint not null,
    expires_at bigint not null,
    address text not null
);
create unique index sessions_token on sessions (token_hash);
create index sessions_person on sessions (person_id);

create table audit (
    seq bigint primary key,
    time_ms bigint not null,
    actor text not null,
    action text not null,
    object text not null,
    result text not null,
    detail text not null,
    address text not null,
    prev_hash text not null,
    hash text not null
);
create index audit_time on audit (time_ms);

-- One row: where the chain ends, under a key that the database does not hold.
create table audit_head (
    id bigint primary key,
    seq bigint not null,
    hash text not null,
    mac text not null
);

create table rooms (
    name text primary key,
    title text not null,
    codec_policy text not null,
    created_at bigint not null,
    created_by text not null,
    closed_at bigint
);
create index rooms_created on rooms (created_at);

create table cameras (
    id text primary key,
    name text not null,
    url text not null,
    username text not null,
    secret text,
    transport text not null,
    keep boolean not null,
    disabled boolean not null,
    created_at bigint not null,
    updated_at bigint not null
);
create index cameras_created on cameras (created_at);

create table room_cameras (
    room text not null,
    camera_id text not null,
    primary key (room, camera_id)
);
create index room_cameras_camera on room_cameras (camera_id);

create table recordings (
    id text primary key,
    kind text not null,
    subject text not null,
    title text not null,
    started_at bigint not null,
    ended_at bigint,
    state text not null,
    started_by text not null,
    bytes bigint not null,
    duration_ms bigint not null
);
create index recordings_started on recordings (started_at);
create index recordings_subject on recordings (kind, subject);

create table recording_tracks (
    recording_id text not null,
    id text not null,
    participant text not null,
    participant_name text not null,
    kind text not null,
    source text not null,
    codec text not null,
    playable boolean not null,
    note text not null,
    start_ms bigint not null,
    duration_ms bigint not null,
    bytes bigint not null,
    width bigint,
    height bigint,
    original_of text,
    primary key (recording_id, id)
);
