// Package operation is the engine: every change is an operation, and nothing of it is lost.
//
// An operation is a list of steps. Each step has a Do and mostly an Undo. The journal records a step as entered before Do is
// called, and as done in the same transaction as the step's own changes ([Apply]); done of one step and entered of the next are
// one commit. After a crash the engine enters the open step again, so Do and Undo are idempotent under [Run.OpID]. When Do
// fails for good, the steps before it are undone in reverse order and the operation ends as failed; a step that may have acted is
// undone itself: it broke off with an unknown outcome, an earlier process had entered it, or what it did could not be recorded. After a
// step marked Final nothing is undone any more.
//
// An operation that has ended is never tried again by the agent (TR-369 Appendix I, R-SMM.1; TR-069 A.4.1.10). It stays
// readable as a job for a while.
//
// Units are locks: an operation names the deployment units it changes when it is accepted, and a second one on the same unit is
// refused. Environments are first-in first-out queues: before its first step marked Turn an operation joins the queues of all
// its environments at once, and keeps its turn to its end. After a restart those go first that had the turn.
//
// Deadlines are budgets on CLOCK_BOOTTIME, so that a gateway without a clock of its own keeps them too: one from the moment
// the operation begins to run, one from its acceptance. What is used up is stored with each commit.
//
// A step that takes the agent down three times is failed, not entered a fourth time. A panic does not take the agent down: it fails the
// step. Waiting for a turn and an orderly end of the agent do not count.
package operation
