//! Tests bodies of all lengths around the limits, in pieces of all sizes.

use customerio::{SignatureTimestamp, SigningKey, sha256_hex, sign};
use futures_util::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use proptest::prelude::*;

use super::*;

const WHOLE: usize = 100_000;

fn frame(piece: &[u8]) -> Result<Frame<Bytes>, std::io::Error> {
    Ok(Frame::data(Bytes::copy_from_slice(piece)))
}

async fn received(body: &[u8], piece: usize, announced: bool, budget: &InFlight) -> Result<Received, Answer> {
    let pieces: Vec<_> = body.chunks(piece).map(frame).collect();
    let limits = Limits { whole: WHOLE, idle: Duration::from_secs(1), until: Instant::now() + Duration::from_secs(10) };
    let keys = [SigningKey::new("k")];
    let verifier = || Verifier::new(&keys, SignatureTimestamp::parse(b"1").unwrap());
    let declared = announced.then_some(body.len() as u64);
    receive(StreamBody::new(futures_util::stream::iter(pieces)), declared, limits, budget, verifier).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_body_within_the_limit_is_kept_whole_and_a_larger_one_is_hashed(
        length in prop_oneof![0_usize..200, WHOLE - 3..WHOLE + 3, WHOLE..3 * WHOLE],
        piece in 1_usize..40_000,
        announced: bool,
    ) {
        let body = "0123456789abcde".repeat(length / 15 + 1)[..length].to_owned();
        let budget = InFlight::new(1 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(received(body.as_bytes(), piece.max(length / 500), announced, &budget)).unwrap();
        match found {
            Received::Whole(bytes, share) => {
                prop_assert!(length <= WHOLE);
                prop_assert_eq!(&bytes[..], body.as_bytes());
                prop_assert_eq!(budget.used(), length + budget_of_a_request());
                drop(share);
            }
            Received::Oversized(found) => {
                prop_assert!(length > WHOLE);
                prop_assert_eq!(found.length, length as u64);
                prop_assert_eq!(&found.first[..], &body.as_bytes()[..KEPT]);
                prop_assert_eq!(found.sha256, sha256_hex([body.as_str()]));
                let signature = sign(&SigningKey::new("k"), "1", body.as_bytes());
                prop_assert!(found.verifier.finish(signature.as_bytes()).is_ok());
                prop_assert_eq!(budget.used(), KEPT + budget_of_a_request());
                drop(found.share);
            }
        }
        prop_assert_eq!(budget.used(), 0);
    }
}

/// Returns the number of bytes that a request takes from the budget in addition to its body.
fn budget_of_a_request() -> usize {
    let budget = InFlight::new(1 << 20);
    let _share = budget.take(0).unwrap();
    budget.used()
}

#[tokio::test]
async fn a_body_over_the_hard_limit_is_too_large_even_without_a_declared_length() {
    let budget = InFlight::new(1 << 20);
    let body = vec![b' '; usize::try_from(HARD_LIMIT).unwrap() + 1];
    assert!(matches!(received(&body[1..], 1 << 20, false, &budget).await, Ok(Received::Oversized(_))));
    assert!(matches!(received(&body, 1 << 20, false, &budget).await, Err(Answer::TooLarge)));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn declared_bytes_count_against_the_budget_only_when_they_arrive() {
    let budget = InFlight::new(50_000);
    let first = futures_util::stream::iter([frame(&[b' '; 1000])]);
    let pieces = first.chain(futures_util::stream::pending());
    let limits = Limits { whole: WHOLE, idle: Duration::from_secs(5), until: Instant::now() + Duration::from_secs(5) };
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move {
            let keys = [SigningKey::new("k")];
            let verifier = || Verifier::new(&keys, SignatureTimestamp::parse(b"1").unwrap());
            receive(StreamBody::new(pieces), Some(90_000), limits, &budget, verifier).await
        }
    });
    while budget.used() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(budget.used(), 1000 + budget_of_a_request());
    waiting.abort();
}
