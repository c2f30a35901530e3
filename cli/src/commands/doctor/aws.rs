//! AWS: as whom this machine calls it, and whether setup.conf names this account and this cluster's OIDC provider.

use gitmoor_core::setup_conf::SetupConf;
use gitmoor_engine::aws::caller;

use super::Finding;

/// Where the platform runs on AWS, unless it says otherwise.
const ENVIRONMENT: &str = "<<__environment__>>";

/// The identity, and what setup.conf says of it.
pub(super) async fn check(conf: Option<&SetupConf>, issuer: Option<&str>) -> Vec<Finding> {
    if value(conf, ENVIRONMENT).is_some_and(|environment| environment != "aws") {
        return vec![Finding::fine(
            "aws",
            "no account is needed on this machine: setup.conf names another environment",
        )];
    }
    let mut findings = Vec::new();
    match caller().await {
        Ok(caller) => {
            let account = caller.account.clone();
            findings.push(Finding::fine("aws", format!("account {account} as {}", caller.arn)));
            let wanted = value(conf, "<<__aws_account_id__>>");
            if let Some(wanted) = wanted.filter(|wanted| *wanted != account) {
                findings.push(Finding::wrong(
                    "aws",
                    format!("setup.conf names account {wanted}, and you are in {account}"),
                    "correct <<__aws_account_id__>>, or use another profile (AWS_PROFILE)",
                ));
            }
        }
        Err(why) => findings.push(Finding::doubtful(
            "aws",
            format!("no identity: {why}"),
            "only creating roles needs it: aws sso login, AWS_PROFILE, or access keys; the agent has a role of its own",
        )),
    }
    findings.extend(oidc(conf, issuer));
    findings
}

/// Whether setup.conf says that all of it is on one machine.
pub(super) fn is_single_node(conf: Option<&SetupConf>) -> bool {
    value(conf, ENVIRONMENT) == Some("single-node")
}

/// Roles trust the cluster's OIDC provider by its address: a wrong one makes every role useless.
fn oidc(conf: Option<&SetupConf>, issuer: Option<&str>) -> Option<Finding> {
    let wanted =
        format!("{}/id/{}", value(conf, "<<__oidc_provider.host__>>")?, value(conf, "<<__oidc_provider.id__>>")?);
    let issuer = issuer?;
    let bare = issuer.trim_start_matches("https://").trim_end_matches('/');
    if bare == wanted {
        return Some(Finding::fine("oidc", format!("the cluster's issuer is {issuer}, as in setup.conf")));
    }
    Some(Finding::wrong(
        "oidc",
        format!("the cluster's issuer is {issuer}, and setup.conf has https://{wanted}: no pod could assume a role"),
        "correct <<__oidc_provider.host__>> and <<__oidc_provider.id__>>, then gitmoor init setup.conf --commit",
    ))
}

fn value<'c>(conf: Option<&'c SetupConf>, token: &str) -> Option<&'c str> {
    let entry = conf?.entries().iter().find(|entry| entry.token == token)?;
    Some(entry.value.as_str()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn the_issuer_is_compared_with_what_roles_trust() {
        let text = b"<<__oidc_provider.host__>>=oidc.eks.example\n<<__oidc_provider.id__>>=ABC\n";
        let conf = SetupConf::parse(text, &[]).unwrap();
        for (issuer, state) in [
            (Some("https://oidc.eks.example/id/ABC"), Some(State::Fine)),
            (Some("https://kubernetes.default.svc"), Some(State::Wrong)),
            (None, None),
        ] {
            assert_eq!(oidc(Some(&conf), issuer).map(|finding| finding.state), state, "{issuer:?}");
        }
        assert!(oidc(None, Some("https://x")).is_none());
    }
}
