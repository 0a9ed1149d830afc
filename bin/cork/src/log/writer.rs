//! The thread that writes log lines, and the way to it.

use std::{
    cell::RefCell,
    io, iter,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use cork_http::{Keep, LogBook, LogLine};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    line::{Clock, Look, Written, json_fields, name_of},
    output::Output,
    page::Page,
};

/// Lines that may wait to be written; further ones are lost, and counted.
const WAITING_MAX: usize = 4096;
/// Bytes of lines that may wait: with the number alone, long lines could take hundreds of megabytes.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Memory for lines that is kept although there are none.
const PAGE_BYTES_KEPT: usize = 256 << 10;
/// The same for the one line that a thread notes.
const NOTE_BYTES_MAX: usize = 4 << 10;
/// How long lines are gathered after some were written: thousands of clients that come at once are not thousands of
/// writes, and whoever logs a line meanwhile has nobody to wake.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for them.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// The way to the thread; what is put there never waits for it.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The thread is told here that something waits.
    wake: Condvar,
}

/// What waits for the thread.
#[derive(Default)]
struct Waiting {
    page: Page,
    /// Lines that found no room.
    lost: u64,
    wishes: Wishes,
    /// Who waits until everything before is written.
    flushes: Vec<SyncSender<()>>,
    /// Lines that the thread took and did not write yet.
    writing: usize,
    /// Their bytes.
    writing_bytes: usize,
    /// The thread sleeps until it is woken.
    idle: bool,
}

/// What an operator wants changed.
#[derive(Default)]
struct Wishes {
    output: Option<Output>,
    look: Option<Look>,
    reopen: bool,
}

/// The running thread.
pub(super) struct WriterThread {
    queue: Queue,
}

impl WriterThread {
    /// `book` gets every line, too.
    pub(super) fn start(output: Output, look: Look, book: LogBook) -> io::Result<Self> {
        let queue = Queue::default();
        let desk = Desk::new(queue.clone(), output, look, book);
        thread::Builder::new().name("log".to_owned()).spawn(move || desk.work())?;
        Ok(Self { queue })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(super) fn switch(&self, output: Output) {
        self.queue.change(|waiting| waiting.wishes.output = Some(output));
    }

    /// Has lines look otherwise from now on.
    pub(super) fn dress(&self, look: Look) {
        self.queue.change(|waiting| waiting.wishes.look = Some(look));
    }

    pub(super) fn reopen(&self) {
        self.queue.change(|waiting| waiting.wishes.reopen = true);
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        self.queue.change(|waiting| waiting.flushes.push(done));
        match written.recv_timeout(FLUSH_PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

thread_local! {
    /// Where a line is noted before it is handed over: what shows its values may take long, or log itself.
    static NOTE: RefCell<Page> = RefCell::default();
}

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let put = |page: &mut Page| {
            page.clear();
            page.note(event);
            self.put(page);
            if page.capacity() > NOTE_BYTES_MAX {
                *page = Page::default();
            }
        };
        let noted = NOTE.try_with(|note| note.try_borrow_mut().map(|mut page| put(&mut page)));
        if !matches!(noted, Ok(Ok(()))) {
            put(&mut Page::default()); // a value that logs while it is shown; or the thread ends
        }
    }
}

impl Queue {
    fn put(&self, lines: &Page) {
        self.change(|waiting| {
            let most = WAITING_MAX - waiting.writing.min(WAITING_MAX);
            let most_bytes = WAITING_BYTES_MAX - waiting.writing_bytes.min(WAITING_BYTES_MAX);
            let page = &mut waiting.page;
            if page.len() + lines.len() <= most && page.bytes() + lines.bytes() <= most_bytes {
                page.append(lines);
            } else {
                waiting.lost += lines.len() as u64;
            }
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting();
        change(&mut waiting);
        let idle = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if idle {
            self.0.wake.notify_one();
        }
    }

    /// Waits until there is something to do, and takes all of it: the lines are in `page` then.
    fn take(&self, page: &mut Page) -> (u64, Wishes, Vec<SyncSender<()>>) {
        let mut waiting = self.waiting();
        while waiting.has_nothing() {
            waiting.idle = true;
            waiting = self.0.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(page, &mut waiting.page);
        (waiting.writing, waiting.writing_bytes) = (page.len(), page.bytes());
        let Waiting { lost, wishes, flushes, .. } = &mut *waiting;
        (std::mem::take(lost), std::mem::take(wishes), std::mem::take(flushes))
    }

    /// What was taken is written.
    fn written(&self) {
        let mut waiting = self.waiting();
        (waiting.writing, waiting.writing_bytes) = (0, 0);
    }
}

impl Waiting {
    fn has_nothing(&self) -> bool {
        let Wishes { output, look, reopen } = &self.wishes;
        let wishes = output.is_some() || look.is_some() || *reopen;
        self.page.is_empty() && self.lost == 0 && self.flushes.is_empty() && !wishes
    }
}

/// What the thread has.
struct Desk {
    queue: Queue,
    output: Output,
    look: Look,
    book: LogBook,
    clock: Clock,
    /// Lines as they are written.
    text: String,
}

/// Lines as the book keeps them.
#[derive(Debug)]
struct Kept(Page);

impl Keep for Kept {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn to_line(&self, at: usize) -> LogLine {
        let line = self.0.line(at);
        LogLine {
            time: Clock::default().text(line.at).to_owned(),
            level: name_of(line.level),
            subsystem: line.target,
            message: line.message().to_owned(),
            fields: json_fields(line).collect(),
        }
    }
}

impl Desk {
    fn new(queue: Queue, output: Output, look: Look, book: LogBook) -> Self {
        Self { queue, output, look, book, clock: Clock::default(), text: String::new() }
    }

    fn work(mut self) {
        let mut page = Page::default();
        loop {
            self.turn(&mut page);
            thread::sleep(GATHER);
        }
    }

    /// Writes what waits, as soon as there is something.
    fn turn(&mut self, page: &mut Page) {
        page.clear();
        let (lost, wishes, flushes) = self.queue.take(page);
        self.fulfil(wishes);
        self.put(page);
        self.queue.written();
        if lost > 0 {
            let mut said = Page::default();
            let message = format_args!("{lost} lines of the log were lost: it is written too slowly");
            said.say(Level::WARN, "broker", message);
            self.put(&said);
        }
        for done in flushes {
            let _ = done.send(()); // who asked may have lost patience
        }
        if page.capacity() > PAGE_BYTES_KEPT {
            *page = Page::default();
        }
    }

    fn put(&mut self, page: &Page) {
        self.text.clear();
        let mut ends = Vec::with_capacity(page.len());
        for line in page.lines() {
            self.look.show(line, &mut self.clock, &mut self.text);
            ends.push(self.text.len());
        }
        let starts = iter::once(0).chain(ends.iter().copied());
        let written: Vec<Written<'_>> = page
            .lines()
            .zip(starts.zip(&ends))
            .map(|(line, (start, end))| Written {
                level: line.level,
                subsystem: subsystem(line.target),
                text: &self.text[start..*end],
            })
            .collect();
        if !written.is_empty() {
            self.output.put(&self.text, &written);
        }
        if !page.is_empty() {
            self.book.push(Arc::new(Kept(page.last(LogBook::LINES_MAX))));
        }
        self.text.shrink_to(PAGE_BYTES_KEPT);
    }

    fn fulfil(&mut self, wishes: Wishes) {
        if let Some(output) = wishes.output {
            self.output = output;
        }
        self.look = wishes.look.unwrap_or(self.look);
        if wishes.reopen {
            self.output.reopen();
        }
    }
}

/// The journal's name for it: the subsystems that write most, `broker` for the others.
fn subsystem(target: &str) -> &'static str {
    ["net", "client", "access", "store"].into_iter().find(|name| *name == target).unwrap_or("broker")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::log::output::tests::folder;

    fn said(text: &str) -> Page {
        let mut page = Page::default();
        page.say(Level::INFO, "net", format_args!("{text}"));
        page
    }

    const LOOK: Look = Look::Text { time: false, colours: false };

    /// What the thread would have.
    fn desk(queue: &Queue, path: &Path) -> Desk {
        Desk::new(queue.clone(), Output::file(path), LOOK, LogBook::default())
    }

    #[test]
    fn who_logs_never_waits_and_what_is_lost_is_counted() {
        let queue = Queue::default();
        for _ in 0..WAITING_MAX + 3 {
            queue.put(&said("line"));
        }
        let folder = folder("lost");
        desk(&queue, &folder.join("cork.log")).turn(&mut Page::default());
        let text = fs::read_to_string(folder.join("cork.log")).unwrap();
        assert_eq!(text.matches(" INFO net: line\n").count(), WAITING_MAX);
        assert!(text.ends_with("3 lines of the log were lost: it is written too slowly\n"), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn long_lines_wait_up_to_a_number_of_bytes() {
        let queue = Queue::default();
        let long = said(&"x".repeat(400_000));
        for _ in 0..100 {
            queue.put(&long);
        }
        let fits = WAITING_BYTES_MAX / long.bytes();
        assert_eq!(queue.waiting().page.len(), fits);
        assert_eq!(queue.waiting().lost, 100 - fits as u64);
        // What the thread holds and could not write yet waits as well.
        let mut page = Page::default();
        queue.take(&mut page);
        queue.put(&long);
        assert_eq!((page.len(), queue.waiting().page.len()), (fits, 0));
        queue.written();
        queue.put(&long);
        assert_eq!(queue.waiting().page.len(), 1);
        // The memory of many lines is given back.
        let folder = folder("bytes");
        desk(&queue, &folder.join("cork.log")).turn(&mut page);
        assert_eq!(page.capacity(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_value_that_logs_while_it_is_shown_is_a_line_of_its_own() {
        let queue = Queue::default();
        let subscriber = tracing_subscriber::registry().with(queue.clone());
        tracing::subscriber::with_default(subscriber, || {
            NOTE.with_borrow_mut(|_| tracing::info!(target: "net", "inner"));
            tracing::info!(target: "net", "outer");
        });
        let page = &queue.waiting().page;
        assert_eq!(page.lines().map(|line| line.message()).collect::<Vec<_>>(), ["inner", "outer"]);
    }

    #[test]
    fn lines_that_came_together_keep_their_order_and_a_flush_waits_for_those_before_it() {
        let folder = folder("order");
        let thread =
            WriterThread::start(Output::file(&folder.join("cork.log")), LOOK, LogBook::default()).unwrap();
        let wanted: String = (0..1000).map(|number| format!(" INFO net: {number}\n")).collect();
        for number in 0..1000 {
            thread.queue().put(&said(&number.to_string()));
        }
        drop(thread);
        assert_eq!(fs::read_to_string(folder.join("cork.log")).unwrap(), wanted);
        fs::remove_dir_all(folder).unwrap();
    }
}
