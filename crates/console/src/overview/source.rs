//! How the overview reaches the services, Kafka, Platform and Customer.io.

use std::pin::Pin;
use std::sync::Arc;

use operator::status::{Asked, Inquiry, Look, Outside, TopicState};

/// A future of this trait.
type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the overview asks.
pub trait StatusSource: std::fmt::Debug + Send + Sync + 'static {
    /// Asks the services.
    fn look(&self) -> Answering<'_, Look>;

    /// Asks Kafka.
    fn topics(&self) -> Answering<'_, Asked<TopicState>>;

    /// Asks Platform and Customer.io.
    fn outside(&self) -> Answering<'_, Outside>;
}

impl StatusSource for Arc<Inquiry> {
    fn look(&self) -> Answering<'_, Look> {
        Box::pin(Inquiry::look(self))
    }

    fn topics(&self) -> Answering<'_, Asked<TopicState>> {
        let inquiry = Arc::clone(self);
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || Inquiry::topics(&inquiry, &|_| {})).await;
            asked.unwrap_or_else(|_| Asked::Failed("reading the topics failed; this is a defect".to_owned()))
        })
    }

    fn outside(&self) -> Answering<'_, Outside> {
        Box::pin(Inquiry::outside(self))
    }
}
