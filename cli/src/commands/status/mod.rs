//! `gitmoor status`: where all Applications stand.

mod rows;
mod seen;
mod tree;

use std::time::Duration;

use crate::{
    age::now,
    cluster::{Connection, Target, complete_applications},
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

use seen::Seen;

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// Shows where Applications stand: synced, healthy, and why not
///
/// One line each: whether the cluster is as the commit says (sync), whether what runs is well (health), which
/// commit changed it last, when that was rolled out, and why it is not as it should be. Those that are not come first.
/// Below them stand their repositories, with the commit that the agent has seen last: one that changes nothing of an
/// Application is no revision of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor status
  # One Application with all of its objects
  gitmoor status mlflow --tree
  # Everything below the root Application
  gitmoor status platform --tree
  gitmoor status --watch
  # For scripts: exit status 1 while something is not Synced and Healthy
  gitmoor status --output json --exit-code")]
pub(crate) struct Arguments {
    /// Only these Applications
    #[arg(value_name = "APP", add = clap_complete::ArgValueCandidates::new(complete_applications))]
    names: Vec<String>,
    /// Show objects below their Applications, and Applications below the one that they belong to
    #[arg(long)]
    tree: bool,
    /// Show it again whenever it changes, until Ctrl-C; into a file or pipe, one below the other, each with its time
    #[arg(long, short)]
    watch: bool,
    /// Applications of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Exit status 1 when something is not Synced and Healthy, or no agent works
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    target: Target,
}

/// Reads all Applications in one request, the agent's lease, and what it has seen of repositories.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let connection = Connection::open(&arguments.target)?;
    if arguments.watch {
        return watch(&connection, arguments, terminal);
    }
    let seen = connection.wait(Seen::now(&connection, arguments))?;
    seen.warnings.iter().for_each(|warning| terminal.warning(warning));
    if terminal.is_json() {
        terminal.json(&seen.document(arguments.tree));
    } else {
        seen.lines(arguments).iter().for_each(|(style, line)| terminal.data(*style, line));
    }
    Ok(if arguments.exit_code && !seen.is_fine() { Exit::Findings } else { Exit::Done })
}

/// Shows it whenever it changes. A request that fails ends nothing: whoever watches an upgrade wants to see its end.
fn watch(connection: &Connection, arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut seen = connection.wait(Seen::now(connection, arguments))?;
    let (mut shown, mut known) = (None, None);
    terminal.stream();
    loop {
        // Warnings stand in the picture: on a terminal it takes the place of everything before.
        let picture: Vec<(Style, String)> = if terminal.is_json() {
            vec![(Style::Plain, seen.document(arguments.tree).to_string())]
        } else {
            let warnings = seen.warnings.iter().map(|warning| (Style::Yellow, format!("warning: {warning}")));
            warnings.chain(seen.lines(arguments)).collect()
        };
        // A log has a picture for each change, and not one for each second that goes by.
        let state = (!terminal.is_screen()).then(|| seen.state(arguments.tree));
        if shown.as_ref() != Some(&picture) && (state.is_none() || state != known) {
            known = state;
            if terminal.is_json() {
                terminal.json(&seen.document(arguments.tree));
            } else {
                if !terminal.is_screen() {
                    terminal.data(Style::Plain, &now().to_string());
                }
                terminal.screen(&picture);
            }
            shown = Some(picture);
        }
        std::thread::sleep(LOOK);
        seen = match connection.wait(Seen::now(connection, arguments)) {
            Err(failure) if failure.exit == Exit::Io => seen.unless(&failure),
            looked => looked?,
        };
    }
}
