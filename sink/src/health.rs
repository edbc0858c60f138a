//! Reports failures of the external systems that the sink needs in addition to Kafka (Platform, IMS, the Schema
//! Registry), and wrong clocks.

use std::time::Duration;

use platform::{Answer, Failure, RetryReason, TokenError, Unreached, Verdict};
use service::{Activity, Ready, Reason, Trouble, Waiting};
use settings::TimeArg;

/// The maximum difference between the clock of this machine and that of a responding server, in seconds.
const CLOCK_DIFFERENCE: i64 = 60;

/// Interval at which a wait that continues is reported again, because an activity forgets a failure that is not
/// repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

const CHECK_PLATFORM: &str = "check that PLATFORM_INLET_URL can be reached from here (firewall, HTTPS_PROXY) and status.adobe.com; the waiting records stay in Kafka";
const CHECK_IMS: &str = "check that IMS_URL can be reached from here (firewall, HTTPS_PROXY) and status.adobe.com; the waiting records stay in Kafka";

/// The activities that depend on external systems other than Kafka. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    platform: Activity,
    tokens: Activity,
    pub(crate) registry: Activity,
    clock: Activity,
    beginning: Activity,
}

impl Health {
    pub(crate) fn new(waiting: &Waiting) -> Self {
        Self {
            platform: waiting.activity("sending to Platform", Ready::Stays, CHECK_PLATFORM),
            tokens: waiting.activity("asking IMS for an access token", Ready::Stays, CHECK_IMS),
            registry: waiting.activity(
                "asking the Schema Registry for a schema",
                Ready::Stays,
                "check that SCHEMA_REGISTRY_URL can be reached from here; records with this schema wait",
            ),
            clock: waiting.activity("comparing the clocks", Ready::Stays, ""),
            beginning: waiting.activity("sending to Platform for the first time", Ready::Stays, ""),
        }
    }

    /// Reports until `not_before` (`PLATFORM_NOT_BEFORE`) that nothing is sent before this time.
    pub(crate) async fn wait_until(self, not_before: TimeArg) {
        loop {
            let left = not_before.from_now();
            if left.is_zero() {
                return self.beginning.succeeded();
            }
            self.beginning.failed(Trouble {
                reason: Reason::NotBefore,
                cause: format!("PLATFORM_NOT_BEFORE is {not_before}"),
                remedy: "nothing to do: the records wait in Kafka, because Platform loses what is sent shortly after a flow or a schema was changed; remove PLATFORM_NOT_BEFORE to send at once",
            });
            tokio::time::sleep(left.min(REPEAT_AFTER)).await;
        }
    }

    /// Starts a request to Platform; keep the returned value until the response is received.
    pub(crate) fn request(&self) -> service::Request {
        self.platform.request()
    }

    /// Notes that IMS granted a token, or that none was needed.
    pub(crate) fn token_received(&self) {
        self.tokens.succeeded();
    }

    /// Starts a request to IMS, if a token is needed; keep the returned value until the token is received.
    pub(crate) fn token_request(&self) -> service::Request {
        self.tokens.request()
    }

    /// Records the result of a request.
    pub(crate) fn answered(&self, answer: &Answer, verdict: &Verdict) {
        if let Answer::NoToken(error) = answer {
            return self.tokens.failed(token_trouble(error));
        }
        self.tokens.succeeded();
        match trouble(answer, verdict) {
            Some(trouble) => self.platform.failed(trouble),
            None => self.platform.succeeded(),
        }
    }

    /// Compares `theirs`, the time in a response in Unix seconds, with the clock of this machine.
    pub(crate) fn dated(&self, theirs: i64) {
        let ahead = service::unix_millis() / 1000 - theirs;
        if ahead.abs() <= CLOCK_DIFFERENCE {
            return self.clock.succeeded();
        }
        let which = if ahead > 0 { "ahead of" } else { "behind" };
        self.clock.failed(Trouble {
            reason: Reason::Clock,
            cause: format!("this machine's clock is {} s {which} that of the responding server", ahead.abs()),
            remedy: "set the clock (NTP): receive times, tokens and timeouts depend on it",
        });
    }
}

fn token_trouble(error: &TokenError) -> Trouble {
    let (reason, remedy) = match error {
        TokenError::Refused { .. } => (
            Reason::Unauthenticated,
            "check IMS_CLIENT_ID, IMS_CLIENT_SECRET and IMS_SCOPES; a new secret is read with the next token",
        ),
        TokenError::Secret(_) => (Reason::Unauthenticated, "make the file readable; it is read with the next token"),
        TokenError::NoAnswer(failure) => match failure {
            Failure::Connect(Unreached::Dns) => (Reason::Dns, "check the host name in IMS_URL and the name server"),
            Failure::Connect(Unreached::Tls) => {
                (Reason::Tls, "check the certificate of IMS_URL's host; PLATFORM_CA_FILE adds an authority")
            }
            Failure::Timeout => (Reason::Timeout, CHECK_IMS),
            Failure::Connect(Unreached::Other) | Failure::Interrupted => (Reason::Unavailable, CHECK_IMS),
        },
        TokenError::Unavailable(429) => (Reason::Throttled, "nothing to do: the sink asks IMS again"),
        TokenError::Unavailable(_) => (Reason::Unavailable, CHECK_IMS),
        TokenError::Unusable(_) => {
            (Reason::UnexpectedAnswer, "check that IMS_URL is Adobe's, and that no proxy responds in its place")
        }
    };
    Trouble { reason, cause: error.to_string(), remedy }
}

/// Returns the reason why a request failed, or `None`. For a hold, `None` is returned because the delivery task reports
/// it; for a refused record, because its request did not fail.
fn trouble(answer: &Answer, verdict: &Verdict) -> Option<Trouble> {
    if let Answer::Failed(failure) = answer {
        let (reason, remedy) = match failure {
            Failure::Connect(Unreached::Dns) => {
                (Reason::Dns, "check the host name in PLATFORM_INLET_URL and the name server")
            }
            Failure::Connect(Unreached::Tls) => {
                (Reason::Tls, "check the certificate of PLATFORM_INLET_URL's host; PLATFORM_CA_FILE adds an authority")
            }
            Failure::Connect(Unreached::Other) | Failure::Interrupted => (Reason::Unavailable, CHECK_PLATFORM),
            Failure::Timeout => (Reason::Timeout, CHECK_PLATFORM),
        };
        return Some(Trouble { reason, cause: failure.to_string(), remedy });
    }
    let retried = match verdict {
        Verdict::RetryAll { reason, .. } | Verdict::Halve { reason } => *reason,
        Verdict::Records { records, .. } => {
            // If no record was decided, the reason of the first entry counts for the whole request.
            let retry = |record: &platform::RecordVerdict| match record {
                platform::RecordVerdict::Retry(reason) => Some(*reason),
                platform::RecordVerdict::Accepted { .. } | platform::RecordVerdict::Refused { .. } => None,
            };
            records.iter().map(retry).collect::<Option<Vec<_>>>()?.first().copied()?
        }
        Verdict::Bisect { .. } | Verdict::Hold(_) => return None,
    };
    let status = match answer {
        Answer::Response(response) => response.status,
        Answer::Failed(_) | Answer::NoToken(_) => 0,
    };
    let (reason, remedy) = match retried {
        RetryReason::Throttled => (
            Reason::Throttled,
            "lower SINK_MAX_REQUESTS_PER_SECOND and SINK_MAX_RECORDS_PER_SECOND, or ask Adobe for a higher limit",
        ),
        RetryReason::Unavailable | RetryReason::ServerError | RetryReason::Connection => {
            (Reason::Unavailable, CHECK_PLATFORM)
        }
        RetryReason::Timeout => (Reason::Timeout, CHECK_PLATFORM),
        RetryReason::Unauthorized => {
            (Reason::Unauthorized, "check IMS_SCOPES, and that the technical account may write to this sandbox")
        }
        RetryReason::Undeterminable => (
            Reason::UnexpectedAnswer,
            "check that PLATFORM_INLET_URL is the inlet's address and that no proxy responds in its place",
        ),
        // The request is not reported as failed, because the sink sends halves of the batch.
        RetryReason::TooLarge => return None,
    };
    Some(Trouble { reason, cause: format!("Platform answers HTTP {status} ({})", retried.as_str()), remedy })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use platform::{Response, classify};

    use super::*;

    fn reason(status: u16, body: &'static str) -> Option<&'static str> {
        let answer =
            Answer::Response(Response { status, retry_after: None, body: Bytes::from_static(body.as_bytes()) });
        trouble(&answer, &classify(&answer, 2)).map(|trouble| trouble.reason.as_str())
    }

    #[test]
    fn only_responses_that_make_the_sink_wait_are_reported_as_failures() {
        assert_eq!(reason(503, ""), Some("unavailable"));
        assert_eq!(reason(500, ""), Some("unavailable"));
        assert_eq!(reason(429, ""), Some("throttled"));
        assert_eq!(reason(408, ""), Some("timeout"));
        assert_eq!(reason(202, ""), Some("unexpected_answer"));
        assert_eq!(reason(200, "<html>"), Some("unexpected_answer"));
        assert_eq!(reason(207, r#"{"responses":[{"status":503},{"status":503}]}"#), Some("unavailable"));
        assert_eq!(
            reason(207, r#"{"responses":[{"status":503},{"xactionId":"1:1"}]}"#),
            None,
            "one record is accepted"
        );
        assert_eq!(reason(413, ""), None);
        assert_eq!(reason(400, ""), None);
        assert_eq!(reason(401, ""), None, "a hold is reported elsewhere");
    }

    #[test]
    fn each_token_error_is_reported_with_the_matching_reason() {
        for (error, reason) in [
            (
                TokenError::Refused { status: 400, code: None, names: platform::CredentialNames::default() },
                Reason::Unauthenticated,
            ),
            (TokenError::Secret("cannot read the file".to_owned()), Reason::Unauthenticated),
            (TokenError::NoAnswer(Failure::Connect(Unreached::Dns)), Reason::Dns),
            (TokenError::NoAnswer(Failure::Connect(Unreached::Tls)), Reason::Tls),
            (TokenError::NoAnswer(Failure::Connect(Unreached::Other)), Reason::Unavailable),
            (TokenError::NoAnswer(Failure::Interrupted), Reason::Unavailable),
            (TokenError::NoAnswer(Failure::Timeout), Reason::Timeout),
            (TokenError::Unavailable(429), Reason::Throttled),
            (TokenError::Unavailable(500), Reason::Unavailable),
            (TokenError::Unusable("its response has no `access_token`"), Reason::UnexpectedAnswer),
        ] {
            assert_eq!(token_trouble(&error).reason, reason, "{error}");
        }
    }

    #[test]
    fn only_a_clock_difference_of_more_than_a_minute_is_reported() {
        let waiting = Waiting::register("sink", &prometheus::Registry::new(), &service::Readiness::default()).unwrap();
        let now = service::unix_millis() / 1000;
        for (theirs, is_reported) in
            [(now, false), (now - 50, false), (now + 50, false), (now - 90, true), (now + 90, true)]
        {
            let health = Health::new(&waiting);
            health.dated(theirs);
            assert_eq!(health.clock.fails(), is_reported, "{} s", theirs - now);
            health.dated(now);
            assert!(!health.clock.fails(), "the clock is right again");
        }
    }

    #[test]
    fn each_failure_without_a_response_is_reported_with_the_matching_reason() {
        for (failure, reason) in [
            (Failure::Connect(Unreached::Dns), Reason::Dns),
            (Failure::Connect(Unreached::Tls), Reason::Tls),
            (Failure::Connect(Unreached::Other), Reason::Unavailable),
            (Failure::Timeout, Reason::Timeout),
        ] {
            let answer = Answer::Failed(failure);
            assert_eq!(trouble(&answer, &classify(&answer, 2)).map(|trouble| trouble.reason), Some(reason));
        }
    }
}
