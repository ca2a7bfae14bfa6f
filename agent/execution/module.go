// Package execution is about execution units: what their environment says of them, what is asked of them, and the faults they
// show.
package execution

import (
	"slices"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// faultCodes is the only place where an adapter's reason becomes an ExecutionFaultCode (TR-181,
// ExecutionUnit.{i}.ExecutionFaultCode; OSGi chapter 155 for the meaning of each).
var faultCodes = map[adapter.Reason]model.FaultCode{
	"":                        model.NoFault,
	adapter.StartFailed:       model.FailureOnStart,
	adapter.AutoStartFailed:   model.FailureOnAutoStart,
	adapter.StopFailed:        model.FailureOnStop,
	adapter.FailedWhileActive: model.FailureWhileActive,
	adapter.Unresolved:        model.DependencyFailure,
	adapter.Dependency:        model.DependencyFailure,
	adapter.Unstartable:       model.UnStartable,
}

// FaultCode returns the ExecutionFaultCode for the reason of a module; a reason that names no fault of its own is
// [model.UnStartable].
func FaultCode(r adapter.Reason) model.FaultCode {
	if c, ok := faultCodes[r]; ok {
		return c
	}
	return model.UnStartable
}

// Message cuts an ExecutionFaultMessage to the length the data model allows, without breaking a character.
func Message(s string) string {
	if utf8.RuneCountInString(s) <= model.MaxFaultMessage {
		return s
	}
	return string([]rune(s)[:model.MaxFaultMessage-1]) + "…"
}

// Observe takes over what the environment says of a module. levels says whether the environment keeps run levels
// itself. What is pending in the row is what was asked for and not what the environment has.
func Observe(u *model.ExecutionUnit, m adapter.Module, levels bool) {
	if m.AutoStart != nil && !u.AutoStartPending {
		u.AutoStart = *m.AutoStart
	}
	if levels && m.RunLevel >= 0 && !u.RunLevelPending {
		u.RunLevel = m.RunLevel
	}
	u.Status = model.EUStatus(m.Status)
	held := u.FaultHeld && u.Status == model.EUIdle
	if u.Restarting && u.Status == model.EUIdle && m.Reason == "" { // one with a fault has been started and has ended
		u.Status = model.EURestarting
	}
	switch code := FaultCode(m.Reason); {
	case overtaken(u, code):
	case !held || m.Reason != "" || m.Version != u.Version:
		SetFault(u, code, m.Message)
	}
	u.Name, u.Label, u.Vendor, u.Version, u.Description = m.Name, m.Label, m.Vendor, m.Version, m.Description
	u.Inert = m.Inert
	u.PIDs = nil
	for _, pid := range m.PIDs {
		u.PIDs = append(u.PIDs, uint32(pid))
	}
	u.Memory, u.Disk, u.LogPath = m.Memory, m.Disk, m.LogPath
	u.ExitCode = -1
	if m.ExitCode != nil {
		u.ExitCode = *m.ExitCode
	}
}

// overtaken reports whether a fault that is told is that of an answer before the last one: its news is late.
func overtaken(u *model.ExecutionUnit, code model.FaultCode) bool {
	n := len(u.FaultsUntold) - 1
	i := slices.Index(u.FaultsUntold, code)
	if i < 0 || i == n {
		return false
	}
	u.FaultsUntold = u.FaultsUntold[i+1:]
	return true
}

// answered sets the fault that the answer to a call has named, whose news is still to come.
func answered(u *model.ExecutionUnit, code model.FaultCode, message string) {
	untold := slices.DeleteFunc(slices.Clone(u.FaultsUntold), func(c model.FaultCode) bool { return c == code })
	SetFault(u, code, message)
	u.FaultsUntold = append(untold, code)
}

// SetFault sets code and message together, in place of a fault that was held: a fault without a message gets its name for one, NoFault has
// none.
func SetFault(u *model.ExecutionUnit, code model.FaultCode, message string) {
	u.FaultCode, u.FaultHeld, u.FaultsUntold = code, false, nil
	switch {
	case code == model.NoFault:
		u.FaultMessage = ""
	case message == "":
		u.FaultMessage = string(code)
	default:
		u.FaultMessage = Message(message)
	}
}

// Down tells that an environment does not run: its units are idle. Those that were at work when it went away unasked
// show FailureWhileActive, and go on to when it is back, unless they are started again; all others UnStartable (TR-069 VI.4; TR-181,
// ExecutionFaultCode).
func Down(tx *inventory.Tx, env string, asked bool, why string) error {
	for _, u := range slices.Collect(tx.ExecutionUnits()) {
		if u.Env != env {
			continue
		}
		row := *u
		row.Status, row.PIDs, row.Memory = model.EUIdle, nil, model.UnknownSize
		switch {
		case asked || (u.Status == model.EUIdle || u.Status == model.EURestarting) && !u.FaultHeld:
			SetFault(&row, model.UnStartable, why)
		case !u.FaultHeld:
			SetFault(&row, model.FailureWhileActive, why)
			row.FaultHeld = true
		}
		if err := tx.PutExecutionUnit(&row); err != nil {
			return err
		}
	}
	return nil
}
