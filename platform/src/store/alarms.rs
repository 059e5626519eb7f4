//! Alarms that devices raised.

use crate::storage::{Db, StorageError};
use sqlx::QueryBuilder;

/// One alarm. Equal ones that came close together are one, and count.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct AlarmRow {
    pub id: String,
    /// By which way the device is reached, such as `gb28181`.
    pub source: String,
    pub device: String,
    pub device_name: String,
    /// What of the device raised it; `None` for the device itself.
    pub channel: Option<String>,
    pub channel_name: String,
    /// 1 is the gravest, 4 the least.
    pub level: i64,
    pub cause: String,
    pub kind: Option<String>,
    /// The device's own words.
    pub description: String,
    /// Degrees, WGS 84; both or neither.
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    /// In ms, as all times: by the device's clock where that is plausible.
    pub raised_at: i64,
    pub received_at: i64,
    pub last_at: i64,
    pub times: i64,
    pub handled: bool,
    /// A person's name.
    pub handled_by: Option<String>,
    pub handled_at: Option<i64>,
    pub note: String,
}

/// Which alarms are asked for.
#[derive(Clone, Debug, Default)]
pub struct AlarmFilter {
    pub handled: Option<bool>,
    pub level: Option<i64>,
    pub source: Option<String>,
    pub device: Option<String>,
    /// Those of this channel, and those of the device itself.
    pub channel: Option<String>,
    /// In ms, by when they were received; the end is outside.
    pub since: Option<i64>,
    pub until: Option<i64>,
}

/// Writes new ones, and the counts of known ones.
pub async fn put(db: &Db, alarms: Vec<AlarmRow>) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            for alarm in alarms {
                sqlx::query(
                    "insert into alarms (id, source, device, device_name, channel, channel_name, level, cause, kind, \
                     description, longitude, latitude, raised_at, received_at, last_at, times, handled, handled_by, \
                     handled_at, note) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
                     $17, $18, $19, $20) on conflict (id) do update set last_at = excluded.last_at, times = excluded.times",
                )
                .bind(alarm.id)
                .bind(alarm.source)
                .bind(alarm.device)
                .bind(alarm.device_name)
                .bind(alarm.channel)
                .bind(alarm.channel_name)
                .bind(alarm.level)
                .bind(alarm.cause)
                .bind(alarm.kind)
                .bind(alarm.description)
                .bind(alarm.longitude)
                .bind(alarm.latitude)
                .bind(alarm.raised_at)
                .bind(alarm.received_at)
                .bind(alarm.last_at)
                .bind(alarm.times)
                .bind(alarm.handled)
                .bind(alarm.handled_by)
                .bind(alarm.handled_at)
                .bind(alarm.note)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        })
    })
    .await
}

pub async fn get(db: &Db, id: &str) -> Result<Option<AlarmRow>, StorageError> {
    let row = sqlx::query_as("select * from alarms where id = $1").bind(id);
    Ok(row.fetch_optional(db.read()).await?)
}

/// The newest first, before the one received at `before`.
pub async fn list(
    db: &Db,
    filter: &AlarmFilter,
    before: Option<(i64, &str)>,
    limit: u32,
) -> Result<Vec<AlarmRow>, StorageError> {
    let mut query = QueryBuilder::new("select * from alarms where 1 = 1");
    if let Some(handled) = filter.handled {
        query.push(" and handled = ").push_bind(handled);
    }
    if let Some(level) = filter.level {
        query.push(" and level = ").push_bind(level);
    }
    if let Some(source) = &filter.source {
        query.push(" and source = ").push_bind(source.clone());
    }
    if let Some(device) = &filter.device {
        query.push(" and device = ").push_bind(device.clone());
    }
    if let Some(channel) = &filter.channel {
        query.push(" and (channel is null or channel = ").push_bind(channel.clone()).push(")");
    }
    if let Some(since) = filter.since {
        query.push(" and received_at >= ").push_bind(since);
    }
    if let Some(until) = filter.until {
        query.push(" and received_at < ").push_bind(until);
    }
    if let Some((at, id)) = before {
        query.push(" and (received_at < ").push_bind(at);
        query.push(" or (received_at = ").push_bind(at);
        query.push(" and id < ").push_bind(id.to_owned()).push("))");
    }
    query.push(" order by received_at desc, id desc limit ").push_bind(i64::from(limit));
    Ok(query.build_query_as().fetch_all(db.read()).await?)
}

/// How many are open, by level.
pub async fn open_by_level(db: &Db) -> Result<Vec<(i64, i64)>, StorageError> {
    let query = sqlx::query_as("select level, count(*) from alarms where handled = $1 group by level").bind(false);
    Ok(query.fetch_all(db.read()).await?)
}

/// Notes who handled them; those that somebody had handled before stay as they are. Gives those that changed.
pub async fn handle(
    db: &Db,
    ids: Vec<String>,
    by: String,
    note: String,
    now: i64,
) -> Result<Vec<AlarmRow>, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let mut changed = Vec::new();
            for id in ids {
                let done = sqlx::query(
                    "update alarms set handled = $1, handled_by = $2, handled_at = $3, note = $4 \
                     where id = $5 and handled = $6",
                )
                .bind(true)
                .bind(&by)
                .bind(now)
                .bind(&note)
                .bind(&id)
                .bind(false)
                .execute(&mut *conn)
                .await?;
                if done.rows_affected() > 0 {
                    changed.push(
                        sqlx::query_as("select * from alarms where id = $1").bind(&id).fetch_one(&mut *conn).await?,
                    );
                }
            }
            Ok(changed)
        })
    })
    .await
}

/// Removes those received before a time, at most so many; gives how many were.
pub async fn forget_before(db: &Db, time: i64, most: u32) -> Result<u64, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let done = sqlx::query(
                "delete from alarms where id in (select id from alarms where received_at < $1 \
                 order by received_at limit $2)",
            )
            .bind(time)
            .bind(i64::from(most))
            .execute(conn)
            .await?;
            Ok(done.rows_affected())
        })
    })
    .await
}
