//! A thread that makes code while the vCPU's goes on.

use super::thread_ns;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Jobs that are sent at once: waking the thread costs as much as a tenth of what one takes it.
const BATCH: usize = 8;

/// A thread that does one job after the other. It ends when this is dropped, but for the job that it is at: nobody waits for
/// that.
pub(super) struct Worker<J, A> {
    jobs: Sender<Vec<(u64, J)>>,
    /// Jobs that have not been sent yet.
    waiting: Vec<(u64, J)>,
    answers: Receiver<Answer<A>>,
    /// Number of the next job.
    next: u64,
}

/// What became of a job.
pub(super) struct Answer<A> {
    /// The job's number.
    pub number: u64,
    pub made: A,
    /// Processor time that it took.
    pub took_ns: u64,
}

impl<J: Send + 'static, A: Send + 'static> Worker<J, A> {
    /// A thread that does jobs so.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn new(mut work: impl FnMut(J) -> A + Send + 'static) -> io::Result<Self> {
        let (jobs, incoming) = channel::<Vec<(u64, J)>>();
        let (outgoing, answers) = channel();
        std::thread::Builder::new().name("translate".to_owned()).spawn(move || {
            for (number, job) in incoming.into_iter().flatten() {
                let began = thread_ns();
                let made = work(job);
                let took_ns = thread_ns() - began;
                if outgoing.send(Answer { number, made, took_ns }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { jobs, waiting: Vec::new(), answers, next: 0 })
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

    /// Sends jobs that wait for others to be sent with. A thread that ended answers nothing: code stays interpreted.
    pub fn hurry(&mut self) {
        if !self.waiting.is_empty() {
            let _ = self.jobs.send(std::mem::take(&mut self.waiting));
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
