//! The commands that follow `setup apply`, each with the options that it needs.

use std::path::Path;

use clap::Command;
use jiff::Timestamp;
use setup::enable::Waiting;

use super::args::ApplyArgs;
use super::written::Written;
use crate::repeat::Typed;

/// The facts on which the next commands depend.
pub(super) struct Next<'n> {
    pub(super) args: &'n ApplyArgs,
    pub(super) typed: &'n Typed,
    pub(super) written: &'n Written,
    pub(super) waiting: &'n [Waiting],
    /// True if a source failed, so that this command has to run again.
    pub(super) has_failed: bool,
    /// True if there are variables for the services.
    pub(super) has_variables: bool,
    /// Name of the sandbox if it is a production sandbox.
    pub(super) production_sandbox: Option<&'n str>,
    /// The time after which Platform loses no events.
    pub(super) not_before: Option<Timestamp>,
}

impl Next<'_> {
    /// Lines with the next commands, in order.
    pub(super) fn lines(&self, root: &Command, now: Timestamp) -> Vec<String> {
        let args = self.args;
        let apply = |more: &[(&str, Option<&str>)]| self.typed.command(root, &["setup", "apply"], more);
        let mut next = Vec::new();
        let is_written = args.write_env.is_some() || args.print_env || args.secret_yaml;
        if self.has_variables && !is_written {
            let file = self.typed.value("env-file").unwrap_or(".env");
            next.push(format!("{}    # writes the services' variables", apply(&[("write-env", Some(file))])));
        }
        if let Some(path) = args.write_env.as_ref().filter(|_| !self.written.env.is_empty()) {
            next.push(format!("start the services with the variables in {}", path.display()));
        }
        if args.sinks.are_held() {
            let release = self.typed.command(root, &["setup", "sink", "release"], &[]);
            let when = match self.not_before.filter(|until| *until > now) {
                Some(until) => format!("after {until}: Platform loses events until then"),
                None => "now: Platform loses no more events".to_owned(),
            };
            next.push(format!("{release}    # {when}"));
        }
        if self.waiting.is_empty() && !self.has_failed {
            next.extend(self.after_success(root));
            return next;
        }
        let can_wait = !self.waiting.is_empty() && !self.waiting.iter().any(|waiting| waiting.code() == "signing_key");
        let (more, why) = match can_wait {
            true => (&[("wait", None)][..], "continues when nothing is missing any more"),
            false => (&[][..], "continues from here"),
        };
        next.push(format!("{}    # {why}", apply(more)));
        next
    }

    fn after_success(&self, root: &Command) -> [String; 2] {
        // Without --env-file, the next commands read ./.env. If there is no ./.env, they need the file of --write-env.
        let written = self.args.write_env.as_deref().filter(|path| *path != Path::new(".env"));
        let written = written.map(|path| path.display().to_string()).filter(|_| !Path::new(".env").exists());
        let file = written.as_deref().map(|file| ("env-file", Some(file)));
        let mut check: Vec<(&str, Option<&str>)> = file.into_iter().collect();
        check.push(("end-to-end", None));
        check.extend(self.production_sandbox.map(|name| ("confirm-sandbox", Some(name))));
        let check = self.typed.command(root, &["check"], &check);
        let status: Vec<(&str, Option<&str>)> = file.into_iter().collect();
        let status = self.typed.command(root, &["status"], &status);
        [
            format!("{check}    # sends a marked event without identity and follows it to Platform"),
            format!("{status}    # shows how everything is"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};
    use settings::Variables;
    use settings::command_line::{self, Required};
    use sources::SourceName;

    use super::*;
    use crate::{Cli, setup::SetupArgs};

    /// The next commands after this command line.
    fn lines(arguments: &[&str], change: impl FnOnce(&mut Next<'_>)) -> Vec<String> {
        lines_while(arguments, &[], change)
    }

    fn lines_while(arguments: &[&str], waiting: &[Waiting], change: impl FnOnce(&mut Next<'_>)) -> Vec<String> {
        let root = Cli::command();
        let arguments: Vec<_> = ["customerio-aep", "setup", "apply"].iter().chain(arguments).map(Into::into).collect();
        let matches = command_line::parse(&root, &Variables::none(), &arguments, Required::Here);
        let matches = matches.map_err(|refused| refused.error).unwrap();
        let setup = SetupArgs::from_arg_matches(matches.subcommand().unwrap().1).unwrap();
        let (typed, written) =
            (Typed::of(&root, &matches), Written { env: vec!["A".to_owned()], ..Written::default() });
        let mut next = Next {
            args: setup.apply_args().unwrap(),
            typed: &typed,
            written: &written,
            waiting,
            has_failed: false,
            has_variables: true,
            production_sandbox: None,
            not_before: None,
        };
        change(&mut next);
        next.lines(&root, "2026-11-24T09:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_next_commands_repeat_the_typed_options_and_send_only_a_marked_test_event() {
        let found = lines(&["--env-file=prod.env", "--credentials=c", "--yes", "--write-env=prod.env"], |next| {
            next.production_sandbox = Some("prod");
        });
        assert_eq!(found[0], "start the services with the variables in prod.env");
        let check = "customerio-aep check --env-file=prod.env --credentials=c --end-to-end --confirm-sandbox=prod ";
        assert!(found[1].starts_with(check), "{found:?}");
        assert!(found[2].starts_with("customerio-aep status --env-file=prod.env --credentials=c "), "{found:?}");
        assert!(!found.join("\n").contains(" send "), "`send` makes events that are not marked");
    }

    #[test]
    fn a_run_with_unmet_conditions_proposes_the_same_command_with_its_options() {
        let time = [Waiting::Time { until: "2026-11-24T09:30:00Z".parse().unwrap() }];
        let key = [Waiting::SigningKey(SourceName::default())];
        let options = ["--env-file=dev.env", "--yes", "--write-env=dev.env"];
        let of = |waiting: &[Waiting]| lines_while(&options, waiting, |_| {}).pop().unwrap();
        let apply = "customerio-aep setup apply --env-file=dev.env --yes --write-env=dev.env";
        assert!(of(&time).starts_with(&format!("{apply} --wait ")), "{}", of(&time));
        assert!(of(&key).starts_with(&format!("{apply}    #")), "`--wait` does not wait for a key: {}", of(&key));
    }

    #[test]
    fn the_release_of_held_sinks_is_proposed_for_the_time_after_which_platform_loses_no_events() {
        let found = |not_before: Option<&str>| {
            let not_before = not_before.map(|time| time.parse().unwrap());
            let found =
                lines(&["--yes", "--print-env", "--sinks-held", "--services=a:1"], |next| next.not_before = not_before);
            found.into_iter().find(|line| line.contains("setup sink release --services=a:1")).unwrap()
        };
        assert!(found(Some("2026-11-24T09:30:00Z")).contains("after 2026-11-24T09:30:00Z"));
        assert!(found(None).contains("# now"));
        assert!(!lines(&["--yes"], |_| {}).join("\n").contains("sink release"));
    }

    #[test]
    fn a_run_that_did_not_write_the_variables_proposes_the_command_that_writes_them() {
        let found = lines(&["--env-file=dev.env", "--yes"], |_| {});
        assert!(
            found[0].starts_with("customerio-aep setup apply --env-file=dev.env --yes --write-env=dev.env "),
            "{found:?}"
        );
    }
}
