//! What is kept together.

use crate::testing::{database, recording_row, track_row};
use rongtong_platform::storage::StorageError;
use rongtong_platform::store::recordings::{self, RecordingRow, RecordingTrackRow, save};

#[tokio::test]
async fn a_recording_and_its_tracks_are_saved_together_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path()).await;
    let row = recording_row("r1", "recording");
    save(&db, row.clone(), vec![track_row("r1", "t1", "opus")]).await.unwrap();
    let refused: Result<(), StorageError> = db
        .write(|conn| {
            Box::pin(async move {
                let trigger = "create trigger full before insert on recording_tracks when new.id = 't3' \
                               begin select raise(abort, 'no more'); end";
                sqlx::query(trigger).execute(conn).await?;
                Ok(())
            })
        })
        .await;
    refused.unwrap();

    let ended = RecordingRow { state: "finished".to_owned(), ..row };
    let tracks = ["t1", "t2", "t3"].map(|id| RecordingTrackRow { bytes: 9, ..track_row("r1", id, "opus") });
    assert!(save(&db, ended, tracks.to_vec()).await.is_err());
    assert_eq!(recordings::get(&db, "r1").await.unwrap().unwrap().state, "recording");
    let kept = recordings::tracks(&db, "r1").await.unwrap();
    assert_eq!(kept.iter().map(|t| (t.id.as_str(), t.bytes)).collect::<Vec<_>>(), [("t1", 0)]);
}
