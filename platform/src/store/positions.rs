//! Where devices have been.

use crate::storage::{Db, StorageError};
use sqlx::QueryBuilder;

/// One place at one time.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct PositionRow {
    /// By which way the device is reached, such as `gb28181`.
    pub source: String,
    pub device: String,
    /// What of the device; empty for the device itself.
    pub channel: String,
    /// In ms.
    pub measured_at: i64,
    pub name: String,
    /// Degrees, WGS 84.
    pub longitude: f64,
    pub latitude: f64,
    /// Metres.
    pub altitude: Option<f64>,
    /// km/h.
    pub speed: Option<f64>,
    /// Degrees clockwise from north.
    pub direction: Option<f64>,
}

/// Adds places; one that is known for its time stays.
pub async fn add(db: &Db, places: Vec<PositionRow>) -> Result<(), StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            // Ten values each: within what every engine takes in one statement.
            for part in places.chunks(50) {
                let mut query = QueryBuilder::new(
                    "insert into positions (source, device, channel, measured_at, name, longitude, latitude, altitude, \
                     speed, direction) ",
                );
                query.push_values(part, |mut row, place| {
                    row.push_bind(place.source.clone())
                        .push_bind(place.device.clone())
                        .push_bind(place.channel.clone())
                        .push_bind(place.measured_at)
                        .push_bind(place.name.clone())
                        .push_bind(place.longitude)
                        .push_bind(place.latitude)
                        .push_bind(place.altitude)
                        .push_bind(place.speed)
                        .push_bind(place.direction);
                });
                query.push(" on conflict (source, device, channel, measured_at) do nothing");
                query.build().execute(&mut *conn).await?;
            }
            Ok(())
        })
    })
    .await
}

/// The newest of each, not older than `since`.
pub async fn newest(db: &Db, since: i64) -> Result<Vec<PositionRow>, StorageError> {
    let rows = sqlx::query_as(
        "select p.* from positions p join (select source, device, channel, max(measured_at) as newest from positions \
         where measured_at >= $1 group by source, device, channel) n on p.source = n.source and p.device = n.device \
         and p.channel = n.channel and p.measured_at = n.newest",
    )
    .bind(since);
    Ok(rows.fetch_all(db.read()).await?)
}

/// One device's way from `since` until before `until`, in order.
pub async fn track(
    db: &Db,
    (source, device, channel): (&str, &str, &str),
    since: i64,
    until: i64,
    limit: u32,
) -> Result<Vec<PositionRow>, StorageError> {
    let rows = sqlx::query_as(
        "select * from positions where source = $1 and device = $2 and channel = $3 and measured_at >= $4 \
         and measured_at < $5 order by measured_at limit $6",
    )
    .bind(source)
    .bind(device)
    .bind(channel)
    .bind(since)
    .bind(until)
    .bind(i64::from(limit));
    Ok(rows.fetch_all(db.read()).await?)
}

/// Removes those measured before a time, at most so many; gives how many were.
pub async fn forget_before(db: &Db, time: i64, most: u32) -> Result<u64, StorageError> {
    db.write(move |conn| {
        Box::pin(async move {
            let oldest: Option<i64> = sqlx::query_scalar(
                "select max(measured_at) from (select measured_at from positions where measured_at < $1 \
                 order by measured_at limit $2) old",
            )
            .bind(time)
            .bind(i64::from(most))
            .fetch_one(&mut *conn)
            .await?;
            let Some(upto) = oldest else { return Ok(0) };
            let done = sqlx::query("delete from positions where measured_at <= $1").bind(upto).execute(conn).await?;
            Ok(done.rows_affected())
        })
    })
    .await
}
