//! The common checklist through lapin, or with the argument `tls` what it does over TLS. `harness` runs the checks; each
//! check opens what it needs and leaves nothing.

mod connections;
mod harness;
mod messages;
mod over_tls;
mod topology;

use harness::Suite;

#[tokio::main]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("tls") {
        let mut suite = Suite::new("lapin-tls", env!("LAPIN_VERSION"));
        over_tls::run(&mut suite).await;
        suite.finish();
    }
    let mut suite = Suite::new("lapin", env!("LAPIN_VERSION"));
    topology::run(&mut suite).await;
    messages::run(&mut suite).await;
    connections::run(&mut suite).await;
    suite.finish();
}
