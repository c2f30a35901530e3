//! The agent from start to stop: stand by, lead, put together, work, and give the lease back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::assemble::assemble;
use crate::context::Context;
use crate::lease::{Lease, Lost};
use crate::metrics::Metrics;
use crate::queue::{self, Queue, Work};
use crate::reconcile::reconcile;
use crate::settings::Settings;
use crate::stand_by::StandBy;

/// How long work that is under way may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(20);

/// Runs until a signal, or until the lease is lost.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let ((queue, work), concurrency) = (queue::queue(), settings.concurrency.max(1));
    let stand_by = StandBy::begin(settings, queue, &mut tasks).await?;
    let stop = stop_signal()?;
    let lease = tokio::select! {
        lease = stand_by.lead(&mut tasks) => lease,
        () = stopped(stop.clone()) => return Ok(()),
    };
    let context = assemble(stand_by, &lease, &mut tasks).await?;
    let outcome = work_until_stopped(&context, (work, concurrency), (&lease, stop), &mut tasks).await;
    if outcome.is_ok() {
        tracing::info!("stopping");
        // Until then it is ours, so that nobody begins beside what is under way.
        tokio::select! {
            () = finish(&context.queue) => lease.release().await,
            lost = lease.hold() => tracing::warn!(?lost, "the lease is lost while stopping"),
        }
    }
    tasks.abort_all();
    outcome
}

/// Works on whatever the queue has; nothing is begun while the lease is not held, or after a signal.
async fn work_until_stopped(
    context: &Arc<Context>,
    (work, concurrency): (Work, usize),
    (lease, stop): (&Lease, watch::Receiver<bool>),
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let (pause, paused) = watch::channel(false);
    let mut worker = tokio::spawn(work.run(concurrency, {
        let (context, stop) = (Arc::clone(context), stop.clone());
        move |key| {
            let (context, stopping, mut paused) = (Arc::clone(&context), *stop.borrow(), paused.clone());
            async move {
                let allowed = !stopping && paused.wait_for(|paused| !paused).await.is_ok();
                if allowed { reconcile(context, key).await } else { queue::Next::OnChange }
            }
        }
    }));
    tokio::select! {
        error = keep(lease, &pause, &context.metrics) => Err(error),
        () = stopped(stop) => Ok(()),
        ended = &mut worker => Err(anyhow!("the work queue ended: {ended:?}")),
        error = panicked(tasks) => Err(error),
    }
}

/// Waits for a task that panics: without it the agent would say that all is well, and not see what it looks after.
async fn panicked(tasks: &mut JoinSet<()>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            return anyhow!("a part of the agent has failed ({error}); it has to be started again");
        }
    }
    std::future::pending().await
}

/// Keeps the lease; nothing new is begun while it is not held. Ends when it is lost for good, with the reason.
async fn keep(lease: &Lease, pause: &watch::Sender<bool>, metrics: &Metrics) -> anyhow::Error {
    let lost = loop {
        match lease.hold().await {
            Lost::NotRenewed => {}
            lost => break lost,
        }
        tracing::warn!("the lease could not be renewed; nothing is begun until it is held again");
        pause.send_replace(true);
        metrics.leads(false);
        if let Err(lost) = lease.regain().await {
            break lost;
        }
        tracing::info!("holding the lease again");
        metrics.leads(true);
        pause.send_replace(false);
    };
    metrics.leads(false);
    match lost {
        Lost::Undone => anyhow!(
            "the cluster was put back to an earlier state, or somebody has changed the lease: what is known of it is not \
             true any more, and the agent has to be started again"
        ),
        Lost::Taken | Lost::NotRenewed => anyhow!("the lease is lost: another agent works now"),
    }
}

/// Waits until what is under way is done.
async fn finish(queue: &Queue) {
    let drained = async {
        while queue.depth() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!("work is left unfinished; the next agent takes it up");
    }
}

/// Becomes true with the first SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        // Keeps the channel open for those who look later.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        tasks.spawn(async { assert_eq!(1, 2, "as a test may") });
        assert!(panicked(&mut tasks).await.to_string().contains("a part of the agent has failed"));
        tasks.spawn(async {});
        let more = tokio::time::timeout(Duration::from_millis(20), panicked(&mut tasks)).await;
        assert!(more.is_err(), "it goes on");
    }
}
