mod fake;

use axum::http::StatusCode;
use contract::dead_letter::{ResolutionKind, Stage};
use operator::dead_letters::SinkDeadLetters;

use self::fake::{Fake, HOSTILE, VALUES, confirm, dead_letter, dry_run, ended};
use super::{EndedEarly, Operation};
use crate::access::Role;
use crate::action_log::Action;
use crate::testing::NOW;

#[tokio::test]
async fn the_list_groups_dead_letters_with_their_explanation_and_counts_the_matches() {
    let fake = Fake::of_codes(&[("refused", 1200), ("server_error", 3)]);
    fake.change(|world| world.dead_letters.push(dead_letter("1:0", Stage::Transformer, "not_json")));
    let console = fake.console();
    let all = console.get(Role::Viewer, "/dead-letters").await.text;
    for text in [
        "<strong>1,204</strong> of 1,204",
        "Platform refused this one event",
        "compare your schema with <code>schemas/xdm</code>",
        "The body is not one JSON object.",
        "/dead-letters?stage=sink&#38;code=refused",
        "1 to 50 of 1,204",
        "the newest 1,000 can be looked at",
        "needs the role of an operator",
    ] {
        assert!(all.to_lowercase().contains(&text.to_lowercase()), "{text} in {all}");
    }
    assert!(!all.contains("action=\"/dead-letters/plan\""), "{all}");
    assert_eq!(all.matches("/dead-letters/one?position=").count(), 50);
    let filtered = console.get(Role::Operator, "/dead-letters?code=server_error&since=1h&source=shop").await.text;
    assert!(
        filtered.contains("<strong>3</strong> of 1,204") && !filtered.contains("not one JSON object"),
        "{filtered}"
    );
    assert!(filtered.contains("action=\"/dead-letters/plan\"") && filtered.contains("Dead letters: server_error"));
    let older = console.get(Role::Viewer, "/dead-letters?page=2").await.text;
    assert!(older.contains("51 to 100 of 1,204") && older.contains(">Newer</a>"), "{older}");
    let nothing = console.get(Role::Operator, "/dead-letters?source=other").await.text;
    assert!(nothing.contains("<strong>0</strong> of 1,204") && nothing.contains("Nothing matches this filter"));
    assert!(!nothing.contains("action=\"/dead-letters/plan\""), "{nothing}");
}

#[tokio::test]
async fn values_are_shown_only_after_a_reveal_which_is_logged_without_values() {
    let fake = Fake::of_codes(&[("refused", 3)]);
    let console = fake.console();
    for role in Role::ALL {
        for path in ["/dead-letters", "/dead-letters/one?position=0:1"] {
            let page = console.get(role, path).await;
            assert_eq!(page.status, StatusCode::OK, "{page:?}");
            assert!(page.text.contains("refused") && page.text.contains("#/timestamp"), "{}", page.text);
            for value in VALUES {
                assert!(!page.text.contains(value), "{value} in {path} as {role}: {}", page.text);
            }
        }
    }
    let one = console.get(Role::Viewer, "/dead-letters/one?position=0:1").await.text;
    for text in ["/events/event?id=01X1", "/events/record?topic=typed", "/events/record?topic=raw", "unresolved", "•••"]
    {
        assert!(one.contains(text), "{text} in {one}");
    }
    assert!(!one.contains("Reveal the values") && !one.contains("Dry run of a replay"), "{one}");

    let fields = [("position", "0:1"), ("reason", "ticket 7 of ann@example.com")];
    let refused = console.post(Role::Viewer, "/dead-letters/reveal", &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let without =
        console.post(Role::Investigator, "/dead-letters/reveal", &[("position", "0:1"), ("reason", " ")]).await;
    assert_eq!(without.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(console.log.lock().unwrap().is_empty());
    let revealed = console.post(Role::Investigator, "/dead-letters/reveal", &fields).await;
    assert_eq!((revealed.status, revealed.header("cache-control")), (StatusCode::OK, "no-store"));
    for value in VALUES {
        assert!(revealed.text.contains(value.trim_start_matches('+')), "{value} in {}", revealed.text);
    }
    let log = console.log.lock().unwrap();
    assert_eq!(
        (log.len(), log[0].action, log[0].subject.as_str()),
        (1, Action::Reveal, "dead letter 0:1 of event 01X1")
    );
    assert_eq!(log[0].reason.as_deref(), Some("ticket 7 of •••"));
}

#[tokio::test]
async fn hostile_content_is_escaped_and_not_linked() {
    let mut hostile = dead_letter("0:0", Stage::Transformer, HOSTILE);
    hostile.dead_letter.message = HOSTILE.to_owned();
    (hostile.source, hostile.event_id) = (HOSTILE.to_owned(), Some(HOSTILE.to_owned()));
    hostile.dead_letter.batch = Some(HOSTILE.to_owned());
    let fake = Fake::new(vec![hostile]);
    fake.change(|world| world.refused = vec![("0:0".parse().unwrap(), HOSTILE.to_owned())]);
    let console = fake.console();
    let fields = [("position", "0:0"), ("operation", "replay")];
    let plan = console.post(Role::Operator, "/dead-letters/plan", &fields).await.header("location").to_owned();
    ended(&console).await;
    let reveal = [("position", "0:0"), ("reason", "why")];
    let revealed = console.post(Role::Operator, "/dead-letters/reveal", &reveal).await.text;
    let mut pages = vec![revealed];
    for path in ["/dead-letters", "/dead-letters/one?position=0:0", &plan] {
        pages.push(console.get(Role::Operator, path).await.text);
    }
    for page in pages {
        assert!(page.contains("&#60;script&#62;") && !page.contains("<script>"), "{page}");
        assert!(!page.contains("code=%3Cscript"), "{page}");
    }
    for path in ["/dead-letters?code=%3Cscript%3E", "/dead-letters?stage=x", "/dead-letters?since=soon"] {
        assert_eq!(console.get(Role::Viewer, path).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[tokio::test]
async fn a_replay_runs_once_after_a_dry_run_and_typing_the_number_of_dead_letters() {
    let fake = Fake::of_codes(&[("refused", 1000), ("server_error", 3)]);
    fake.change(|world| world.refused = vec![("0:5".parse().unwrap(), "the raw record has expired".to_owned())]);
    let console = fake.console();
    let (to, page) = dry_run(&console, "refused").await;
    assert_eq!(to, "/dead-letters/work/1");
    for text in ["999 dead letters would be replayed", "1 cannot be replayed", "the raw record has expired", "Type 999"]
    {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    let viewed = console.get(Role::Viewer, &to).await.text;
    assert!(viewed.contains("would be replayed") && !viewed.contains("action=\"/dead-letters/carry-out\""), "{viewed}");
    for number in ["", "1000", "99", "nine", "-999"] {
        let wrong = confirm(&console, "1", number).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{number}");
        assert!(wrong.text.contains("is not the number 999. Nothing was changed."), "{}", wrong.text);
    }
    assert_eq!(fake.change(|world| world.orders.len()), 1, "only the dry run has started");
    let right = confirm(&console, "1", " 999 ").await;
    assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/dead-letters/work/2"));
    ended(&console).await;
    assert_eq!(
        confirm(&console, "1", "999").await.header("location"),
        "/dead-letters/work/2",
        "a form that is sent again leads to the same job"
    );
    let result = console.get(Role::Operator, "/dead-letters/work/2").await.text;
    assert!(
        result.contains("999 dead letters were replayed") && result.contains("the schema is right now"),
        "{result}"
    );
    let order = fake.change(|world| {
        assert_eq!(world.orders.len(), 2);
        world.orders.remove(1)
    });
    assert_eq!(order.operation, Operation::Replay(SinkDeadLetters::AsIs));
    assert_eq!((order.bounds.limit, order.bounds.at_most), (Some(50_000), Some(999)));
    assert_eq!((order.filter.until, order.filter.codes), (Some(NOW), vec!["refused".to_owned()]));
    let resolving = order.resolving.unwrap();
    assert_eq!((resolving.by.as_str(), resolving.note.as_deref()), ("operator", Some("the schema is right now")));
    let list = console.get(Role::Viewer, "/dead-letters").await.text;
    assert!(list.contains("<strong>4</strong> of 4") && list.contains("Replay, as they are"), "{list}");
    let log = console.log.lock().unwrap();
    let actions: Vec<Action> = log.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::DryRun, Action::Replay]);
    assert!(log[1].subject.starts_with("999 dead letters: code refused, written before "), "{:?}", log[1]);
}

#[tokio::test]
async fn a_discard_without_a_note_or_the_operator_role_is_refused() {
    let fake = Fake::of_codes(&[("refused", 2)]);
    let console = fake.console();
    let fields = [("operation", "discard"), ("code", "refused")];
    for role in [Role::Viewer, Role::Investigator] {
        assert_eq!(console.post(role, "/dead-letters/plan", &fields).await.status, StatusCode::FORBIDDEN);
        let form = [("plan", "1"), ("note", "x"), ("confirm", "2")];
        assert_eq!(console.post(role, "/dead-letters/carry-out", &form).await.status, StatusCode::FORBIDDEN);
    }
    console.post(Role::Operator, "/dead-letters/plan", &fields).await;
    ended(&console).await;
    for (note, status) in [
        ("", StatusCode::UNPROCESSABLE_ENTITY),
        (&*"x".repeat(501), StatusCode::UNPROCESSABLE_ENTITY),
        ("test data of ann@example.com", StatusCode::SEE_OTHER),
    ] {
        let form = [("plan", "1"), ("note", note), ("confirm", "2")];
        assert_eq!(console.post(Role::Operator, "/dead-letters/carry-out", &form).await.status, status, "{note}");
    }
    ended(&console).await;
    let result = console.get(Role::Viewer, "/dead-letters/work/2").await.text;
    assert!(result.contains("2 dead letters were discarded") && !result.contains("ann@example.com"), "{result}");
    let log = console.log.lock().unwrap();
    assert_eq!(
        log.last().map(|entry| (entry.action, entry.reason.as_deref())),
        Some((Action::Discard, Some("test data of •••")))
    );
}

#[tokio::test]
async fn a_stopped_replay_leaves_the_remaining_dead_letters_unresolved() {
    let fake = Fake::of_codes(&[("refused", 10)]);
    let console = fake.console();
    let (_, page) = dry_run(&console, "refused").await;
    assert!(page.text.contains("Type 10"), "{}", page.text);
    fake.change(|world| world.is_waiting = true);
    let to = confirm(&console, "1", "10").await.header("location").to_owned();
    for _ in 0..2 {
        let page = console.get(Role::Operator, &to).await.text;
        assert!(page.contains("Running: a replay") && page.contains("job-stop"), "{page}");
        assert!(!console.get(Role::Viewer, &to).await.text.contains("job-stop"), "a viewer may not stop it");
    }
    let part = console.get(Role::Viewer, "/dead-letters/progress?id=2").await.text;
    assert!(part.contains("progress") && !part.contains("<html"), "{part}");
    let list = console.get(Role::Viewer, "/dead-letters").await.text;
    assert!(list.contains(&format!("href=\"{to}\"")) && list.contains("Running: a replay"), "{list}");
    // Another operation is refused while the job is running.
    for (path, fields) in [
        ("/dead-letters/plan", &[("operation", "discard"), ("code", "refused")][..]),
        ("/dead-letters/plan", &[("operation", "replay"), ("how", "remap")][..]),
    ] {
        let answer = console.post(Role::Operator, path, fields).await;
        assert!(
            answer.status == StatusCode::CONFLICT && answer.text.contains("a replay of operator runs"),
            "{answer:?}"
        );
    }
    console.post(Role::Operator, "/jobs/stop", &[("id", "2"), ("back", to.as_str())]).await;
    ended(&console).await;
    assert_eq!(console.get(Role::Viewer, "/dead-letters/progress?id=2").await.header("hx-refresh"), "true");
    let result = console.get(Role::Operator, &to).await.text;
    assert!(result.contains("Stopped after 1 of 10") && result.contains("Make another dry run"), "{result}");
    let list = console.get(Role::Viewer, "/dead-letters").await.text;
    assert!(list.contains("<strong>9</strong> of 9"), "{list}");
}

#[tokio::test]
async fn a_stopped_dry_run_has_no_plan_to_confirm() {
    let fake = Fake::of_codes(&[("refused", 10)]);
    fake.change(|world| world.is_waiting = true);
    let console = fake.console();
    let fields = [("operation", "discard"), ("code", "refused")];
    console.post(Role::Operator, "/dead-letters/plan", &fields).await;
    let early = confirm(&console, "1", "10").await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{early:?}");
    assert!(
        console.get(Role::Viewer, "/dead-letters/work/1").await.text.contains("job-stop"),
        "a viewer may stop a dry run, because it only reads"
    );
    console.post(Role::Viewer, "/jobs/stop", &[("id", "1"), ("back", "/")]).await;
    ended(&console).await;
    let page = console.get(Role::Operator, "/dead-letters/work/1").await.text;
    assert!(page.contains("stopped before it changed anything") && !page.contains("carry-out"), "{page}");
    assert_eq!(confirm(&console, "1", "10").await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_replay_resolves_no_more_than_confirmed_and_reports_changes_since_the_dry_run() {
    let fake = Fake::of_codes(&[("refused", 10)]);
    let console = fake.console();
    dry_run(&console, "refused").await;
    fake.resolve(4, ResolutionKind::Discarded);
    confirm(&console, "1", "10").await;
    ended(&console).await;
    let result = console.get(Role::Operator, "/dead-letters/work/2").await.text;
    for text in [
        "6 dead letters were replayed",
        "Somebody else resolved 4 of them since the dry run",
        "The dry run had found 10. When the right to write was taken, the plan was made again, and had 6.",
    ] {
        assert!(result.contains(text), "{text} in {result}");
    }
    let one = console.get(Role::Viewer, "/dead-letters/one?position=0:0").await.text;
    assert!(one.contains("discarded") && one.contains("kim") && one.contains("it was a test"), "{one}");
    assert!(!one.contains("Replay or discard this one"), "{one}");

    // After the dry run, a service whose clock is slow writes a dead letter with a time that the plan includes.
    fake.change(|world| world.dead_letters.push(dead_letter("0:10", Stage::Sink, "refused")));
    dry_run(&console, "refused").await;
    fake.change(|world| world.dead_letters.push(dead_letter("0:11", Stage::Sink, "refused")));
    confirm(&console, "3", "1").await;
    ended(&console).await;
    let result = console.get(Role::Operator, "/dead-letters/work/4").await.text;
    assert!(result.contains("Nothing was changed") && result.contains("more than were confirmed"), "{result}");
}

#[tokio::test]
async fn a_replay_that_ended_early_shows_how_many_dead_letters_it_resolved() {
    let fake = Fake::of_codes(&[("refused", 10)]);
    let console = fake.console();
    dry_run(&console, "refused").await;
    let error = format!("another command has taken over {HOSTILE}");
    fake.change(|world| world.fails = Some(EndedEarly { error, resolved: 4 }));
    confirm(&console, "1", "10").await;
    ended(&console).await;
    let result = console.get(Role::Operator, "/dead-letters/work/2").await.text;
    assert!(result.contains("Ended early after 4") && result.contains("A new dry run continues"), "{result}");
    assert!(!result.contains("<script>"), "{result}");
}

#[tokio::test]
async fn a_replay_of_dead_letters_of_the_sink_is_refused_without_a_choice_of_as_is_or_remap() {
    let fake = Fake::of_codes(&[("refused", 1)]);
    fake.change(|world| world.dead_letters.push(dead_letter("1:0", Stage::Transformer, "not_json")));
    let console = fake.console();
    assert!(console.get(Role::Operator, "/dead-letters").await.text.contains("How to replay those of the sink"));
    let all = console.post(Role::Operator, "/dead-letters/plan", &[("operation", "replay")]).await;
    assert!(all.status == StatusCode::UNPROCESSABLE_ENTITY && all.text.contains("as they are"), "{all:?}");
    let unknown = [("operation", "replay"), ("how", "twice")];
    let unknown = console.post(Role::Operator, "/dead-letters/plan", &unknown).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    let one = [("operation", "replay"), ("stage", "transformer")];
    assert_eq!(console.post(Role::Operator, "/dead-letters/plan", &one).await.status, StatusCode::SEE_OTHER);
    let page = console.get(Role::Operator, "/dead-letters?stage=transformer").await.text;
    assert!(!page.contains("How to replay those of the sink"), "{page}");
}

#[tokio::test]
async fn the_dead_letters_page_shows_the_reason_if_kafka_fails_or_the_topic_does_not_exist() {
    let fake = Fake::of_codes(&[("refused", 2)]);
    fake.change(|world| world.error = Some("no Kafka broker responded".to_owned()));
    let console = fake.console();
    let page = console.get(Role::Operator, "/dead-letters").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("could not be read:</strong> no Kafka broker responded"), "{}", page.text);
    assert!(!page.text.contains("There is no unresolved dead letter."), "{}", page.text);
    let one = console.get(Role::Viewer, "/dead-letters/one?position=0:1").await;
    assert!(one.status == StatusCode::BAD_GATEWAY && one.text.contains("no Kafka broker responded"), "{one:?}");
    let fake = Fake::default();
    fake.change(|world| world.is_missing = true);
    let page = fake.console().get(Role::Viewer, "/dead-letters").await.text;
    assert!(page.contains("The dead-letter topic does not exist") && page.contains("/connect"), "{page}");
    let page = Fake::default().console().get(Role::Viewer, "/dead-letters").await.text;
    assert!(page.contains("There is no unresolved dead letter."), "{page}");
}

#[tokio::test]
async fn an_unknown_position_or_id_gets_404_and_an_invalid_position_422() {
    let console = Fake::of_codes(&[("refused", 2)]).console();
    for (path, status) in [
        ("/dead-letters/one?position=9:9", StatusCode::NOT_FOUND),
        ("/dead-letters/one?position=nine", StatusCode::UNPROCESSABLE_ENTITY),
        ("/dead-letters/work/7", StatusCode::NOT_FOUND),
        ("/dead-letters/work/nine", StatusCode::NOT_FOUND),
    ] {
        let answer = console.get(Role::Operator, path).await;
        assert!(answer.status == status && answer.text.contains("<h1>"), "{path}: {answer:?}");
    }
    assert_eq!(confirm(&console, "7", "1").await.status, StatusCode::NOT_FOUND);
}
