package execution

import (
	"testing"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestObserveLate lets the news of failures come after the answer to the last call.
func TestObserveLate(t *testing.T) {
	const auto, start, stop = model.FailureOnAutoStart, model.FailureOnStart, model.FailureOnStop
	for name, c := range map[string]struct {
		answers []model.FaultCode
		told    []adapter.Reason
		want    []model.FaultCode // after each that is told
	}{
		"in order":          {[]model.FaultCode{start}, []adapter.Reason{adapter.StartFailed, adapter.FailedWhileActive}, []model.FaultCode{start, model.FailureWhileActive}},
		"late":              {[]model.FaultCode{auto, start}, []adapter.Reason{adapter.AutoStartFailed, adapter.StartFailed}, []model.FaultCode{start, start}},
		"two are late":      {[]model.FaultCode{auto, stop, start}, []adapter.Reason{adapter.AutoStartFailed, adapter.StopFailed, adapter.StartFailed}, []model.FaultCode{start, start, start}},
		"one is left out":   {[]model.FaultCode{auto, stop, start}, []adapter.Reason{adapter.StopFailed, adapter.StartFailed}, []model.FaultCode{start, start}},
		"fails once more":   {[]model.FaultCode{auto, start}, []adapter.Reason{adapter.StartFailed, adapter.AutoStartFailed}, []model.FaultCode{start, auto}},
		"late, once more":   {[]model.FaultCode{auto, start}, []adapter.Reason{adapter.AutoStartFailed, adapter.AutoStartFailed}, []model.FaultCode{start, auto}},
		"something else":    {[]model.FaultCode{auto, start}, []adapter.Reason{"", adapter.AutoStartFailed}, []model.FaultCode{model.NoFault, auto}},
		"the same thrice":   {[]model.FaultCode{start, start, start}, []adapter.Reason{adapter.StartFailed, ""}, []model.FaultCode{start, model.NoFault}},
		"one after another": {[]model.FaultCode{auto, start, auto}, []adapter.Reason{adapter.StartFailed, adapter.AutoStartFailed}, []model.FaultCode{auto, auto}},
	} {
		t.Run(name, func(t *testing.T) {
			u := model.ExecutionUnit{Status: model.EUIdle, FaultCode: model.NoFault}
			for _, code := range c.answers {
				answered(&u, code, "answer "+string(code))
			}
			for i, r := range c.told {
				before := u.FaultsUntold
				Observe(&u, adapter.Module{Status: adapter.Idle, Reason: r, Message: "news"}, false)
				if u.FaultCode != c.want[i] {
					t.Errorf("%d: after %q it is %s: %q (untold before: %s)", i, r, u.FaultCode, u.FaultMessage, before)
				}
			}
		})
	}
}
