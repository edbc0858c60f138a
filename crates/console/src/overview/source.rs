//! Access of the overview to the services, Kafka, Platform and Customer.io.

use std::pin::Pin;
use std::sync::Arc;

use operator::status::{Asked, Inquiry, Look, Outside, TopicState};

/// Boxed future of the methods of [`StatusSource`].
type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The systems whose status the overview shows.
pub trait StatusSource: std::fmt::Debug + Send + Sync + 'static {
    /// Requests health and metrics from the services.
    fn look(&self) -> Answering<'_, Look>;

    /// Reads the state of the topics from Kafka.
    fn topics(&self) -> Answering<'_, Asked<TopicState>>;

    /// Requests the state of the flow from Platform and of the webhooks from Customer.io.
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
