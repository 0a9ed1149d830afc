//! The thread that writes log lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use cork_http::LogBook;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    journal::Journal,
    line::{Line, Look},
};

/// Lines that may wait to be written; further ones are lost, and counted.
const WAITING_MAX: usize = 4096;
/// Bytes of lines that may wait: with the number alone, long lines could take hundreds of megabytes.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long lines are gathered after some were written: thousands of clients that come at once are not thousands of
/// writes, and whoever logs a line meanwhile has nobody to wake.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for them.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// How often an output that fails is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is told.
enum Order {
    Line(Line),
    /// Something lies in [`Wishes`].
    Look,
    Flush(SyncSender<()>),
}

/// What an operator wants changed. Not in the queue, which may be full for as long as nobody reads the log: whoever
/// wishes something does not wait for that.
#[derive(Default)]
struct Wishes {
    output: Option<Output>,
    look: Option<Look>,
    reopen: bool,
}

/// A line as it is written.
pub(super) struct Written {
    pub(super) level: Level,
    pub(super) subsystem: &'static str,
    /// With a line feed at its end.
    pub(super) text: Vec<u8>,
}

/// The way to the thread; what is put there never waits.
#[derive(Clone)]
pub(super) struct Queue {
    orders: SyncSender<Order>,
    count: Arc<Count>,
}

/// What both ends of the way know.
#[derive(Default)]
struct Count {
    /// Lines that found no room.
    lost: AtomicU64,
    /// Bytes of lines that are not written yet.
    waiting_bytes: AtomicUsize,
}

/// The running thread.
pub(super) struct WriterThread {
    queue: Queue,
    wishes: Arc<Mutex<Wishes>>,
}

impl WriterThread {
    /// `book` gets every line, too.
    pub(super) fn start(output: Output, look: Look, book: LogBook) -> io::Result<Self> {
        let (orders, received) = sync_channel(WAITING_MAX);
        let count = Arc::new(Count::default());
        let wishes = Arc::new(Mutex::new(Wishes::default()));
        let desk = Desk { output, look, book, count: Arc::clone(&count), wishes: Arc::clone(&wishes) };
        thread::Builder::new().name("log".to_owned()).spawn(move || desk.work(&received))?;
        Ok(Self { queue: Queue { orders, count }, wishes })
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(super) fn switch(&self, output: Output) {
        self.wish(|wishes| wishes.output = Some(output));
    }

    /// Has lines look otherwise from now on.
    pub(super) fn dress(&self, look: Look) {
        self.wish(|wishes| wishes.look = Some(look));
    }

    pub(super) fn reopen(&self) {
        self.wish(|wishes| wishes.reopen = true);
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        // If the queue is full, the thread looks after the line it is at.
        let _ = self.queue.orders.try_send(Order::Look);
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.queue.orders.try_send(Order::Flush(done)).is_ok() {
            match written.recv_timeout(FLUSH_PATIENCE) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.put(Line::of(event));
    }
}

impl Queue {
    fn put(&self, line: Line) {
        let (waiting, bytes) = (&self.count.waiting_bytes, line.bytes());
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= WAITING_BYTES_MAX
            && !matches!(self.orders.try_send(Order::Line(line)), Err(TrySendError::Full(_)))
        {
            return;
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.count.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the thread has.
struct Desk {
    output: Output,
    look: Look,
    book: LogBook,
    count: Arc<Count>,
    wishes: Arc<Mutex<Wishes>>,
}

impl Desk {
    fn work(mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let mut lines = Vec::new();
            for order in iter::once(first).chain(orders.try_iter()) {
                match order {
                    Order::Line(line) => lines.push(line),
                    Order::Look => {}
                    Order::Flush(done) => {
                        self.write(&mut lines);
                        let _ = done.send(()); // who asked may have lost patience
                    }
                }
            }
            self.write(&mut lines);
            thread::sleep(GATHER);
        }
    }

    fn write(&mut self, lines: &mut Vec<Line>) {
        self.fulfil();
        if !lines.is_empty() {
            let bytes = lines.iter().map(Line::bytes).sum();
            self.put(lines);
            lines.clear();
            self.count.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.say_lost();
    }

    fn put(&mut self, lines: &[Line]) {
        let written: Vec<Written> = lines
            .iter()
            .map(|line| Written {
                level: line.level,
                subsystem: subsystem(line.target),
                text: self.look.show(line).into_bytes(),
            })
            .collect();
        self.output.put(&written);
        for line in lines {
            let message = line.message().to_owned();
            self.book.push(line.time(), line.level_name(), line.target, message, line.to_json_fields());
        }
    }

    fn fulfil(&mut self) {
        let wishes = std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(output) = wishes.output {
            self.output = output;
        }
        self.look = wishes.look.unwrap_or(self.look);
        if wishes.reopen {
            self.output.reopen();
        }
    }

    fn say_lost(&mut self) {
        match self.count.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                let message = format_args!("{lost} lines of the log were lost: it is written too slowly");
                self.put(&[Line::saying(Level::WARN, "broker", message)]);
            }
        }
    }
}

/// The journal's name for it: the subsystems that write most, `broker` for the others.
fn subsystem(target: &str) -> &'static str {
    ["net", "client", "access", "store"].into_iter().find(|name| *name == target).unwrap_or("broker")
}

/// Where lines go now.
pub(super) struct Output {
    place: Place,
    /// The place failed; it is tried again then. Meanwhile lines go to standard error.
    retry: Option<Instant>,
}

enum Place {
    /// `true`: it is the journal, which reads how important a line is from its beginning.
    Stderr(bool),
    Journal(Option<Journal>),
    File(PathBuf, Option<File>),
}

impl Output {
    pub(super) fn stderr(is_journal: bool) -> Self {
        Self { place: Place::Stderr(is_journal), retry: None }
    }

    pub(super) fn journal() -> Self {
        Self { place: Place::Journal(None), retry: None }
    }

    pub(super) fn file(path: &Path) -> Self {
        Self { place: Place::File(path.to_owned(), None), retry: None }
    }

    fn reopen(&mut self) {
        if let Place::File(_, file) = &mut self.place {
            *file = None;
        }
        self.retry = None;
    }

    /// Writes lines: where they belong, else to standard error, else nowhere.
    fn put(&mut self, lines: &[Written]) {
        if self.retry.is_none_or(|when| Instant::now() >= when) {
            match self.place.put(lines) {
                Ok(()) => {
                    self.retry = None;
                    return;
                }
                Err(error) => {
                    if self.retry.is_none() {
                        self.place.complain(&error);
                    }
                    self.retry = Some(Instant::now() + RETRY);
                }
            }
        }
        if !matches!(self.place, Place::Stderr(_)) {
            let _ = io::stderr().lock().write_all(&text_of(lines)); // the last resort
        }
    }
}

impl Place {
    fn put(&mut self, lines: &[Written]) -> io::Result<()> {
        match self {
            Self::Stderr(false) => io::stderr().lock().write_all(&text_of(lines)),
            Self::Stderr(true) => {
                io::stderr().lock().write_all(&lines.iter().flat_map(with_priority).collect::<Vec<_>>())
            }
            Self::Journal(journal) => {
                let open = match journal.take() {
                    Some(open) => open,
                    None => Journal::open()?,
                };
                lines.iter().try_for_each(|line| open.put(line))?;
                *journal = Some(open);
                Ok(())
            }
            Self::File(path, file) => {
                let mut open = match file.take() {
                    Some(open) => open,
                    // Who may read it is the operator's choice, by the folder; others may not.
                    None => OpenOptions::new().append(true).create(true).mode(0o640).open(path)?,
                };
                open.write_all(&text_of(lines))?;
                *file = Some(open);
                Ok(())
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        let place = match self {
            Self::Stderr(_) => return,
            Self::Journal(_) => "the journal".to_owned(),
            Self::File(path, _) => format!("the log file `{}`", path.display()),
        };
        let _ = writeln!(
            io::stderr().lock(),
            "{place} can't be written ({error}); until it can, the log goes to standard error"
        );
    }
}

fn text_of(lines: &[Written]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.text.len()).sum());
    lines.iter().for_each(|line| text.extend_from_slice(&line.text));
    text
}

/// As the journal likes it on a standard error that leads to it: `<6>` before each line.
fn with_priority(line: &Written) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.text.len() + 4);
    for part in line.text.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(format!("<{}>", priority(line.level)).as_bytes());
        text.extend_from_slice(part);
    }
    text
}

/// The number syslog has for it.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn line(text: &str) -> Written {
        Written { level: Level::INFO, subsystem: "net", text: text.as_bytes().to_vec() }
    }

    fn said(text: &str) -> Line {
        Line::saying(Level::INFO, "net", format_args!("{text}"))
    }

    const LOOK: Look = Look::Text { time: false, colours: false };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cork-log-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = folder("rotate");
        let path = folder.join("cork.log");
        let mut output = Output::file(&path);
        output.put(&[line("one\n")]);
        fs::rename(&path, folder.join("cork.log.1")).unwrap();
        output.put(&[line("two\n")]);
        output.reopen();
        output.put(&[line("three\n")]);
        assert_eq!(fs::read_to_string(folder.join("cork.log.1")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = folder("fails");
        let path = folder.join("not-there").join("cork.log");
        let mut output = Output::file(&path);
        output.put(&[line("lost\n")]);
        assert!(output.retry.is_some());
        fs::create_dir(folder.join("not-there")).unwrap();
        output.put(&[line("too early\n")]);
        assert!(!path.exists());
        output.retry = Some(Instant::now());
        output.put(&[line("there\n")]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "there\n");
        assert!(output.retry.is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    /// A queue without its thread.
    fn queue(lines: usize) -> (Queue, Receiver<Order>) {
        let (orders, received) = sync_channel(lines);
        (Queue { orders, count: Arc::default() }, received)
    }

    fn desk(queue: &Queue, path: &Path) -> Desk {
        Desk {
            output: Output::file(path),
            look: LOOK,
            book: LogBook::default(),
            count: Arc::clone(&queue.count),
            wishes: Arc::default(),
        }
    }

    #[test]
    fn who_logs_never_waits_and_what_is_lost_is_counted() {
        let (queue, received) = queue(2);
        for _ in 0..5 {
            queue.put(said("line"));
        }
        assert_eq!(queue.count.lost.load(Ordering::Relaxed), 3);
        let folder = folder("lost");
        let mut desk = desk(&queue, &folder.join("cork.log"));
        let Ok(Order::Line(first)) = received.recv() else { panic!("no line") };
        desk.write(&mut vec![first]);
        let text = fs::read_to_string(folder.join("cork.log")).unwrap();
        assert!(
            text.starts_with(" INFO net: line\n") && text.contains("3 lines of the log were lost"),
            "{text}"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn long_lines_wait_up_to_a_number_of_bytes() {
        let (queue, received) = queue(WAITING_MAX);
        let long = "x".repeat(400_000);
        for _ in 0..100 {
            queue.put(said(&long));
        }
        let folder = folder("bytes");
        let mut desk = desk(&queue, &folder.join("cork.log"));
        let lines = |order| if let Order::Line(line) = order { Some(line) } else { None };
        let mut waiting: Vec<Line> = received.try_iter().filter_map(lines).collect();
        let fits = WAITING_BYTES_MAX / said(&long).bytes();
        assert_eq!(waiting.len(), fits);
        assert_eq!(queue.count.lost.load(Ordering::Relaxed), 100 - fits as u64);
        // What the thread holds and could not write yet waits as well.
        queue.put(said(&long));
        assert_eq!(received.try_iter().count(), 0);
        desk.write(&mut waiting);
        assert_eq!(queue.count.waiting_bytes.load(Ordering::Relaxed), 0);
        queue.put(said(&long));
        assert_eq!(received.try_iter().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_that_came_together_keep_their_order_and_a_flush_waits_for_those_before_it() {
        let folder = folder("order");
        let thread =
            WriterThread::start(Output::file(&folder.join("cork.log")), LOOK, LogBook::default()).unwrap();
        let wanted: String = (0..1000).map(|number| format!(" INFO net: {number}\n")).collect();
        for number in 0..1000 {
            thread.queue().put(said(&number.to_string()));
        }
        drop(thread);
        assert_eq!(fs::read_to_string(folder.join("cork.log")).unwrap(), wanted);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_journal_is_told_how_important_each_line_is() {
        let text =
            |level, text: &str| String::from_utf8(with_priority(&Written { level, ..line(text) })).unwrap();
        assert_eq!(text(Level::INFO, "one\ntwo\n"), "<6>one\n<6>two\n");
        assert_eq!(text(Level::ERROR, "x\n"), "<3>x\n");
    }
}
