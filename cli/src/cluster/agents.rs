//! Which agent works on the Applications of a namespace, and whether it does.
//!
//! An agent follows its own namespace and those that it is told to follow; its lease says which. So the Applications of
//! one namespace and their agent may be in different ones, and only here is it known where to look.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::{Agent, Connection, lease::Told};
use crate::terminal::Terminal;

/// Leases that are read one by one: for more, all of them are listed.
const MOST_SINGLY: usize = 4;

/// What is known of the agent of some Applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Follower {
    /// Namespace of the Applications; `None` when it is about any.
    followed: Option<String>,
    /// Where the agent is; where it was looked for when there is none, the likeliest first.
    pub(crate) namespaces: Vec<String>,
    pub(crate) agent: Agent,
    /// The agent there works, and is not told to follow that namespace.
    pub(crate) leaves_out: bool,
}

impl Follower {
    /// What people have to know before they read a status, or ask for something.
    pub(crate) fn warning(&self) -> Option<String> {
        let place = self.place();
        match &self.followed {
            Some(followed) if self.leaves_out => Some(format!(
                "nobody works on the Applications of namespace {followed}: the agent of namespace {place} is not told to \
                 follow it; add it to GITMOOR_APPLICATION_NAMESPACES in that agent's settings"
            )),
            _ => self.agent.warning(&place),
        }
    }

    /// Where the agent is, or was looked for.
    pub(crate) fn place(&self) -> String {
        match self.namespaces.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            names => names.concat(),
        }
    }

    /// Of what leases tell, what there is to know of the agent of a namespace's Applications. An agent elsewhere than in that
    /// namespace and the `likely` ones counts only when it says that it follows them.
    fn of(followed: &str, likely: &[&str], known: &[Told]) -> Self {
        let places: Vec<&str> =
            [followed].into_iter().chain(likely.iter().copied().filter(|one| *one != followed)).collect();
        let near = places.iter().filter_map(|place| known.iter().find(|told| told.namespace == *place));
        let far = known.iter().filter(|told| !places.contains(&told.namespace.as_str()) && told.says(followed));
        let looked_in = likely.iter().copied().chain([followed].into_iter().filter(|one| !likely.contains(one)));
        Self::choose(near.chain(far), Some(followed), looked_in.map(str::to_owned).collect())
    }

    /// The best: who works and follows, then who did, then what may not be known.
    fn choose<'t>(known: impl Iterator<Item = &'t Told>, followed: Option<&str>, looked_in: Vec<String>) -> Self {
        // One that does not say may follow any.
        let follows = |told: &Told| followed.is_none_or(|followed| told.follows.is_none() || told.says(followed));
        let rank = |told: &Told| match (&told.agent, follows(told)) {
            (Agent::Works { .. }, true) => 0,
            (Agent::Silent { .. }, true) => 1,
            (Agent::Unknown, _) => 2,
            (Agent::Works { .. }, false) => 3,
            (Agent::Silent { .. }, false) | (Agent::Absent, _) => 4,
        };
        let best = known.map(|told| (rank(told), told)).min_by_key(|(rank, _)| *rank);
        let followed = followed.map(str::to_owned);
        match best {
            Some((rank @ 0..4, told)) => {
                let (namespaces, agent) = (vec![told.namespace.clone()], told.agent.clone());
                Self { followed, namespaces, agent, leaves_out: rank == 3 }
            }
            _ => Self { followed, namespaces: looked_in, agent: Agent::Absent, leaves_out: false },
        }
    }

    /// Nobody is known who follows it, or did.
    fn is_nobody(&self) -> bool {
        self.leaves_out || self.agent == Agent::Absent
    }
}

impl Connection {
    /// The agent that works on the Applications of a namespace.
    pub(crate) async fn agent_of(&self, namespace: &str) -> Follower {
        self.agents_of(&BTreeSet::from([namespace])).await.remove(0)
    }

    /// The same of several namespaces, in their order.
    pub(crate) async fn agents_of(&self, namespaces: &BTreeSet<&str>) -> Vec<Follower> {
        let likely = self.namespaces();
        let own = namespaces.iter().copied().filter(|own| !likely.contains(own));
        let places: Vec<&str> = likely.iter().copied().chain(own).collect();
        let judge = |known: &[Told]| -> Vec<Follower> {
            namespaces.iter().map(|namespace| Follower::of(namespace, &likely, known)).collect()
        };
        if places.len() > MOST_SINGLY
            && let Some(all) = self.leases().await
        {
            return judge(&all);
        }
        let found = judge(&join_all(places.into_iter().map(|place| self.lease(place))).await);
        if found.iter().any(Follower::is_nobody)
            && let Some(all) = self.leases().await
        {
            return judge(&all);
        }
        found
    }

    /// The agent that works, whatever it follows.
    pub(crate) async fn agent_here(&self) -> Follower {
        let places = self.namespaces();
        let known = join_all(places.iter().map(|place| self.lease(place))).await;
        Follower::choose(known.iter(), None, places.into_iter().map(str::to_owned).collect())
    }

    /// The namespaces whose Applications the agent of a namespace works on: its own, and those that its lease names.
    pub(crate) async fn followed_from(&self, namespace: &str) -> BTreeSet<String> {
        let told = self.lease(namespace).await.follows.unwrap_or_default();
        told.into_iter().filter(|one| !one.is_empty()).chain([namespace.to_owned()]).collect()
    }

    /// Says when nobody will take up what is asked for.
    pub(crate) async fn warn_without_agent(&self, namespace: &str, terminal: &mut Terminal) {
        if let Some(warning) = self.agent_of(namespace).await.warning() {
            terminal.warning(&warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(namespace: &str, agent: Agent, follows: Option<&[&str]>) -> Told {
        let follows = follows.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        Told { namespace: namespace.to_owned(), agent, follows }
    }

    #[test]
    fn the_agent_of_an_application_is_the_one_that_follows_its_namespace() {
        let works = || Agent::Works { holder: "pod".into() };
        let silent = || Agent::Silent { holder: "pod".into(), seconds: 60 };
        let follower = |known: &[Told]| {
            let found = Follower::of("team", &["gitmoor", "argocd"], known);
            (found.place(), found.agent.clone(), found.warning().unwrap_or_default())
        };
        for (known, place, agent, warning) in [
            (
                vec![],
                "gitmoor, argocd or team",
                Agent::Absent,
                "no agent has ever run in namespace gitmoor, argocd or team",
            ),
            (vec![told("gitmoor", works(), Some(&["gitmoor", "team"]))], "gitmoor", works(), ""),
            (vec![told("gitmoor", works(), None)], "gitmoor", works(), ""),
            (
                vec![told("gitmoor", works(), Some(&["gitmoor"]))],
                "gitmoor",
                works(),
                "nobody works on the Applications of namespace team: the agent of namespace gitmoor is not told",
            ),
            // It has moved: what it left behind is not asked.
            (vec![told("team", silent(), Some(&["team"])), told("gitmoor", works(), None)], "gitmoor", works(), ""),
            (
                vec![told("gitmoor", works(), Some(&["gitmoor"])), told("team", silent(), Some(&["team"]))],
                "team",
                silent(),
                "no agent is running in namespace team",
            ),
            (vec![told("ops", works(), Some(&["ops", "team"]))], "ops", works(), ""),
            (
                vec![told("ops", works(), None), told("other", works(), Some(&["other"]))],
                "gitmoor, argocd or team",
                Agent::Absent,
                "no agent has ever run",
            ),
            (vec![told("gitmoor", Agent::Unknown, None)], "gitmoor", Agent::Unknown, ""),
        ] {
            let found = follower(&known);
            assert_eq!((found.0.as_str(), &found.1), (place, &agent), "{known:?}");
            assert!(found.2.starts_with(warning) && found.2.is_empty() == warning.is_empty(), "{}", found.2);
        }
    }
}
