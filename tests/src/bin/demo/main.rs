//! `make demo`: from a fork of the distribution to a cluster that follows it, on real parts.
//!
//! ```text
//! cluster -> fork -> gitmoor init -> push -> agent -> root Application -> Synced and Healthy
//!     -> a change, planned and pushed -> a mistake, explained and reverted -> look around
//! ```
//!
//! Everything is on loopback and ends with this process, however that ends. `DEMO_EXIT=1` leaves when all is done;
//! `DEMO_KUBECONFIG` names a cluster to use instead of one of the demo's own.

mod cluster;
mod fork;
mod gitmoor;
mod rollout;
mod screen;
mod world;

use std::process::ExitCode;

use screen::Screen;
use tokio::signal::unix::{SignalKind, signal};
use world::World;

/// The exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    // The harness says what is wrong by panicking; where in its code is of no interest here.
    std::panic::set_hook(Box::new(|panic| say_why(panic.payload_as_str().unwrap_or("it does not say why"))));
    let mut stop = std::pin::pin!(asked_to_stop());
    let mut demo = tokio::spawn(demo(Screen::new()));
    let outcome = tokio::select! {
        outcome = &mut demo => outcome,
        () = &mut stop => {
            demo.abort();
            // What was started ends with the values of the task.
            let _ = demo.await;
            say_why("stopped before its end");
            return ExitCode::from(INTERRUPTED);
        }
    };
    match outcome {
        Ok(Ok(world)) => {
            if !is_set("DEMO_EXIT") {
                stop.await;
            }
            world.end().await;
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            say_why(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        // The hook has said why.
        Err(_) => ExitCode::FAILURE,
    }
}

/// The whole show; gives what is to be looked at afterwards.
async fn demo(mut screen: Screen) -> anyhow::Result<World> {
    screen.heading("A cluster and a fork");
    let mut world = World::bring_up(&mut screen).await?;
    screen.heading("Make the fork yours, and push it");
    world.initialise(&mut screen).await?;
    screen.heading("Start the agent, and apply the root Application: the last thing done by hand");
    world.install(&mut screen).await?;
    screen.heading("The agent rolls the platform out");
    world.roll_out(&mut screen).await?;
    screen.heading("Change one line, see what that would do, and push it");
    world.change(&mut screen).await?;
    screen.heading("Make a mistake, ask what is wrong, and take it back");
    world.mistake(&mut screen).await?;
    screen.heading("Look around");
    world.look_around(&mut screen, !is_set("DEMO_EXIT"));
    Ok(world)
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}

#[allow(clippy::print_stderr)]
fn say_why(message: &str) {
    eprintln!("\ndemo: {}", message.trim_end());
}

/// The first Ctrl-C, or another polite request.
async fn asked_to_stop() {
    let signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let waits = signals.into_iter().flatten().map(|mut signal| Box::pin(async move { signal.recv().await }));
    futures::future::select_all(waits).await;
}
