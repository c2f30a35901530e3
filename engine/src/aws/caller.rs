//! As whom this machine calls AWS.

use std::error::Error;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

/// A person waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Id of the account.
    pub account: String,
    /// ARN of the user or of the session.
    pub arn: String,
}

/// Asks AWS (`sts:GetCallerIdentity`, which needs no right).
///
/// # Errors
/// Why there is no answer, in one line.
pub async fn caller() -> Result<Caller, String> {
    let timeouts = TimeoutConfig::builder().connect_timeout(TIMEOUT).operation_timeout(TIMEOUT).build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .load()
        .await;
    if config.region().is_none() {
        return Err("no region is set (AWS_REGION, or in the profile)".to_owned());
    }
    let answer = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    let answer = answer.map_err(|error| innermost(&error))?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Ok(Caller { account: text(answer.account()), arn: text(answer.arn()) })
}

/// What went wrong: the SDK's own errors say only which layer failed.
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
