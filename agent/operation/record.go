package operation

import (
	"encoding/json"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// record is an operation in the journal.
type record struct {
	ID         uint32          `json:"id"`
	Kind       string          `json:"kind"`
	Key        string          `json:"key"` // the OpID: unique also when state.db is lost and numbers begin anew
	Originator string          `json:"originator,omitempty"`
	Command    string          `json:"command,omitempty"` // of USP
	CommandKey string          `json:"command_key,omitempty"`
	State      json.RawMessage `json:"state"`
	Envs       []string        `json:"envs,omitempty"`
	Locks      []model.RowID   `json:"locks,omitempty"`
	Objects    []model.Ref     `json:"objects,omitempty"`
	Part       bool            `json:"part,omitempty"` // takes no place of Options.MaxOpen

	Step    int    `json:"step"`  // index of the step that is entered: Do, or Undo while Undoing; behind the ends: no step
	Entry   string `json:"entry"` // its name, checked when the record is read; empty: no step
	Entries int    `json:"entries"`
	Waiting bool   `json:"waiting,omitempty"` // for its turn: the step is not entered yet

	Again    bool `json:"again,omitempty"`    // an earlier process entered the step
	Rebooted bool `json:"rebooted,omitempty"` // and the device has restarted since
	Crossed  bool `json:"crossed,omitempty"`  // the device has restarted since the acceptance

	Passed  bool `json:"passed"` // a Final step is done
	Undoing bool `json:"undoing"`
	Cancel  bool `json:"cancel"` // somebody canceled it

	Accepted time.Time     `json:"accepted"` // wall time
	Started  time.Time     `json:"started"`  // wall time at which it began to run
	Finished time.Time     `json:"finished"` // wall time; zero while open
	Boot     string        `json:"boot"`     // boot id of the last commit
	Stamp    time.Duration `json:"stamp"`    // CLOCK_BOOTTIME of the last commit
	Total    time.Duration `json:"total"`    // used since acceptance, up to Stamp
	Running  time.Duration `json:"running"`  // used since it began to run, up to Stamp
	Begun    bool          `json:"begun"`

	JobState model.JobState `json:"job_state"`
	Fault    fault.Reason   `json:"fault,omitempty"`
	Message  string         `json:"message,omitempty"`
}

var journal = store.NewTable[uint32, record]("operation")

// advance brings the used-up times to now.
func (r *record) advance(boot string, now time.Duration) {
	since := now // the device restarted: all of this boot counts, what was before is unknown
	if r.Boot == boot {
		since = now - r.Stamp
	}
	r.Total += since
	if r.Begun {
		r.Running += since
	}
	r.Boot, r.Stamp = boot, now
}

// enter makes i the step that is entered, with its name.
func (r *record) enter(i int, name string) {
	r.Step, r.Entry, r.Entries = i, name, 1
	r.Waiting, r.Again, r.Rebooted = false, false, false
}

// begin starts the count of the running time.
func (r *record) begin(c Clock) {
	if !r.Begun {
		r.advance(c.Boot(), c.SinceBoot())
		r.Begun, r.Started = true, c.Wall()
	}
}

// job returns what observers see of the record.
func (r *record) job(progress float64, done, total uint64) *model.Job {
	return &model.Job{
		ID: r.ID, Operation: r.Kind, State: r.JobState, Progress: progress, BytesDone: done, BytesTotal: total,
		StartTime: r.Accepted, Objects: r.Objects, Fault: r.Fault, Message: r.Message, Originator: r.origin(),
	}
}

func (r record) origin() model.Origin {
	return model.Origin{Name: r.Originator, Command: r.Command, CommandKey: r.CommandKey}
}
