//! Request and response (5.0 4.10): a question with a Response Topic, an answer with the same Correlation Data.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use crate::{Client, Message, Publish, PublishError, QoS, Subscribe, SubscribeError};

/// Why there is no answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection speaks 3.1.1, which has neither Response Topic nor Correlation Data.
    NotSupported,
    /// The topic for the answers could not be subscribed to.
    Subscribe(SubscribeError),
    /// The question could not be published.
    Publish(PublishError),
    /// Nobody is subscribed to the question's topic, says the server.
    NobodyListens,
    /// No answer in time.
    Timeout,
    /// The client is closed.
    Closed,
}

/// Asks questions; all answers come through one subscription, which lives as long as this value.
///
/// ```no_run
/// # async fn example(client: cork_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use cork_client::Publish;
/// use std::time::Duration;
///
/// let requester = client.requester().await?;
/// let answer = requester.request(Publish::new("lamp/get", ""), Duration::from_secs(2)).await?;
/// println!("{:?}", answer.payload());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Requester {
    client: Client,
    topic: String,
    pending: Arc<Mutex<Pending>>,
    reader: tokio::task::AbortHandle,
}

/// Questions without answer, by Correlation Data.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    asked: BTreeMap<u64, Asked>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Asked {
    waker: Option<Waker>,
    answer: Option<Message>,
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Prepares for questions: subscribes to a topic of its own for the answers. Its begin is the server's Response
    /// Information, if there is one, else `response/<Client Identifier>/`.
    ///
    /// # Errors
    /// That the connection speaks 3.1.1, or that the server refused the subscription.
    pub async fn requester(&self) -> Result<Requester, RequestError> {
        let connected = self.connected().await.map_err(|_| RequestError::Closed)?;
        if !connected.version.is_v5() {
            return Err(RequestError::NotSupported);
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| RequestError::NotSupported)?;
        let random = u64::from_le_bytes(random);
        let topic = match connected.properties.as_properties().response_information() {
            Some(prefix) => format!("{}/{random:016x}", prefix.trim_end_matches('/')),
            None => format!("response/{}/{random:016x}", connected.client_id.replace(['/', '+', '#'], "_")),
        };
        let wanted = Subscribe::new(topic.as_str()).qos(QoS::AtLeastOnce);
        let mut answers = self.subscribe(wanted).await.map_err(RequestError::Subscribe)?;
        let pending = Arc::new(Mutex::new(Pending::default()));
        let shared = Arc::clone(&pending);
        let reader = tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                deliver(&shared, answer);
            }
            let mut pending = lock(&shared);
            pending.closed = true;
            pending.asked.values_mut().filter_map(|asked| asked.waker.take()).for_each(Waker::wake);
        });
        Ok(Requester { client: self.clone(), topic, pending, reader: reader.abort_handle() })
    }

    /// One question and its answer; [`Client::requester`] is cheaper for several.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, question: Publish, timeout: Duration) -> Result<Message, RequestError> {
        self.requester().await?.request(question, timeout).await
    }
}

fn deliver(pending: &Mutex<Pending>, answer: Message) {
    let data = answer.properties().correlation_data().and_then(|data| data.try_into().ok());
    let Some(id) = data.map(u64::from_be_bytes) else { return };
    if let Some(asked) = lock(pending).asked.get_mut(&id) {
        asked.answer.get_or_insert(answer);
        asked.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Requester {
    /// The topic the answers come to.
    #[must_use]
    pub fn response_topic(&self) -> &str {
        &self.topic
    }

    /// Publishes a question and waits for its answer. Response Topic and Correlation Data are set here.
    ///
    /// # Errors
    /// Why there is no answer. A QoS 1 or 2 question that nobody is subscribed to fails at once, where the server
    /// tells.
    pub async fn request(&self, question: Publish, timeout: Duration) -> Result<Message, RequestError> {
        let id = {
            let mut pending = lock(&self.pending);
            pending.next += 1;
            let id = pending.next;
            pending.asked.insert(id, Asked::default());
            id
        };
        let asked = Guard { pending: &self.pending, id };
        let question = question.response_topic(&self.topic).correlation_data(&id.to_be_bytes());
        tokio::time::timeout(timeout, asked.answer(&self.client, question))
            .await
            .unwrap_or(Err(RequestError::Timeout))
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// One question; forgotten when dropped.
struct Guard<'a> {
    pending: &'a Mutex<Pending>,
    id: u64,
}

impl Guard<'_> {
    async fn answer(&self, client: &Client, question: Publish) -> Result<Message, RequestError> {
        let handle = client.publish(question).await.map_err(RequestError::Publish)?;
        let mut handle = pin!(handle);
        let mut published = false;
        poll_fn(|cx| {
            {
                let mut pending = lock(self.pending);
                let closed = pending.closed;
                if let Some(asked) = pending.asked.get_mut(&self.id) {
                    if let Some(answer) = asked.answer.take() {
                        return Poll::Ready(Ok(answer));
                    }
                    asked.waker = Some(cx.waker().clone());
                }
                if closed {
                    return Poll::Ready(Err(RequestError::Closed));
                }
            }
            if !published && let Poll::Ready(end) = handle.as_mut().poll(cx) {
                published = true;
                match end {
                    Err(error) => return Poll::Ready(Err(RequestError::Publish(error))),
                    Ok(end) if end.reason == crate::ReasonCode::NO_MATCHING_SUBSCRIBERS => {
                        return Poll::Ready(Err(RequestError::NobodyListens));
                    }
                    Ok(_) => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        lock(self.pending).asked.remove(&self.id);
    }
}

impl Message {
    /// The answer to this message, with its Correlation Data and QoS, to its Response Topic; `None` when it asks for
    /// none.
    #[must_use]
    pub fn reply(&self, payload: impl Into<crate::Bytes>) -> Option<Publish> {
        let properties = self.properties();
        let topic = properties.response_topic().filter(|topic| !topic.is_empty())?;
        let answer = Publish::new(topic, payload).qos(self.qos());
        Some(match properties.correlation_data() {
            Some(data) => answer.correlation_data(data),
            None => answer,
        })
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => f.write_str("requests need MQTT 5.0"),
            Self::Subscribe(error) => write!(f, "cannot subscribe to the answers: {error}"),
            Self::Publish(error) => write!(f, "cannot publish the request: {error}"),
            Self::NobodyListens => f.write_str("nobody is subscribed to the topic of the request"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the client is closed"),
        }
    }
}

impl std::error::Error for RequestError {}
