//! The common checklist through lapin. `harness` runs the checks; each check opens what it needs and leaves nothing.

mod connections;
mod harness;
mod messages;
mod topology;

use harness::Suite;

#[tokio::main]
async fn main() {
    let mut suite = Suite::new("lapin", env!("LAPIN_VERSION"));
    topology::run(&mut suite).await;
    messages::run(&mut suite).await;
    connections::run(&mut suite).await;
    suite.finish();
}
