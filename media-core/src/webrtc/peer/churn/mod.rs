//! Meetings in which everything happens in any order: people come, publish, subscribe, are muted,
//! lose and regain their rights, answer late, leave. After each of these, what rooms, peers and the
//! shard hold is what an independent model says; at the end they hold nothing.
//!
//! Time is virtual: the shard is driven by the test, and tokio's clock is paused.

mod browser;
mod driver;
mod model;

use driver::World;

/// Things that happen in the suite's run; `RONGTONG_CHURN` asks for another number.
const OPERATIONS: usize = 10_000;

#[tokio::test(start_paused = true)]
async fn whatever_happens_in_meetings_nothing_is_left_over_and_nothing_is_missing() {
    let number = |name: &str, usual: usize| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(usual);
    let seed = number("RONGTONG_CHURN_SEED", 1);
    let mut world = World::new(seed as u64);
    for _ in 0..number("RONGTONG_CHURN", OPERATIONS) {
        world.step().await;
        world.check();
    }
    world.end().await;
}
