//! A thread that makes code while the vCPU's goes on.

use super::thread_ns;
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// Jobs that are sent at once: waking the thread costs as much as a tenth of what one takes it.
const BATCH: usize = 8;

/// Jobs that nobody waits for, which are done while there are no others. Between two of them, or where the next one turns out
/// to be none, the others are looked for.
pub(super) type Spare<J> = Box<dyn Iterator<Item = Option<J>> + Send>;

/// What the thread is told.
enum Message<J> {
    /// Jobs, each with its number.
    Jobs(Vec<(u64, J)>),
    Spare(Spare<J>),
}

/// A thread that does one job after the other. It ends when this is dropped, but for the job that it is at: nobody waits for
/// that.
pub(super) struct Worker<J, A> {
    messages: Sender<Message<J>>,
    /// Jobs that have not been sent yet.
    waiting: Vec<(u64, J)>,
    answers: Receiver<Answer<A>>,
    /// Number of the next job.
    next: u64,
}

/// What became of a job.
pub(super) struct Answer<A> {
    /// The job's number; `None` if it was a spare one.
    pub number: Option<u64>,
    pub made: A,
    /// Processor time that it took.
    pub took_ns: u64,
}

impl<J: Send + 'static, A: Send + 'static> Worker<J, A> {
    /// A thread that does jobs so.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn new(work: impl FnMut(J) -> A + Send + 'static) -> io::Result<Self> {
        let (messages, incoming) = channel();
        let (outgoing, answers) = channel();
        std::thread::Builder::new()
            .name("translate".to_owned())
            .spawn(move || Thread { work, outgoing, spare: None }.run(&incoming))?;
        Ok(Self { messages, waiting: Vec::new(), answers, next: 0 })
    }

    /// Asks for a job to be done, soon after [`Self::hurry`] at the latest, and gives its number.
    pub fn request(&mut self, job: J) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.push((number, job));
        if self.waiting.len() >= BATCH {
            self.hurry();
        }
        number
    }

    /// Gives it these jobs for when it has no other.
    pub fn spare(&mut self, jobs: Spare<J>) {
        // A thread that ended does none.
        let _ = self.messages.send(Message::Spare(jobs));
    }

    /// Sends jobs that wait for others to be sent with. A thread that ended answers nothing: code stays interpreted.
    pub fn hurry(&mut self) {
        if !self.waiting.is_empty() {
            let _ = self.messages.send(Message::Jobs(std::mem::take(&mut self.waiting)));
        }
    }

    /// What is done next; waits for it. `None` if the thread has ended.
    pub fn wait(&mut self) -> Option<Answer<A>> {
        self.hurry();
        self.answers.recv().ok()
    }

    /// What has been done, if anything has.
    pub fn answer(&self) -> Option<Answer<A>> {
        self.answers.try_recv().ok()
    }
}

/// The thread's own part.
struct Thread<J, A, W> {
    work: W,
    outgoing: Sender<Answer<A>>,
    spare: Option<Spare<J>>,
}

impl<J, A, W: FnMut(J) -> A> Thread<J, A, W> {
    /// Does what is asked for until nobody can ask any more, or hear of it.
    fn run(mut self, incoming: &Receiver<Message<J>>) {
        loop {
            let message = match self.spare {
                None => incoming.recv().map_err(|_| TryRecvError::Disconnected),
                Some(_) => incoming.try_recv(),
            };
            let is_heard = match message {
                Ok(Message::Jobs(jobs)) => {
                    jobs.into_iter().all(|(number, job)| self.make(Some(number), job, thread_ns()))
                }
                Ok(Message::Spare(jobs)) => {
                    self.spare = Some(jobs);
                    true
                }
                Err(TryRecvError::Empty) => self.make_spare(),
                Err(TryRecvError::Disconnected) => false,
            };
            if !is_heard {
                break;
            }
        }
    }

    fn make_spare(&mut self) -> bool {
        let began = thread_ns();
        match self.spare.as_mut().and_then(Iterator::next) {
            Some(Some(job)) => self.make(None, job, began),
            Some(None) => true,
            None => {
                self.spare = None;
                true
            }
        }
    }

    /// Does a job; false if nobody hears of it.
    fn make(&mut self, number: Option<u64>, job: J, began: u64) -> bool {
        let made = (self.work)(job);
        let took_ns = thread_ns() - began;
        self.outgoing.send(Answer { number, made, took_ns }).is_ok()
    }
}
