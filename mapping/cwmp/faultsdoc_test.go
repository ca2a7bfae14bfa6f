package cwmp

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/mapping/usp"
)

//go:generate go test -run TestFaultsDocument -update

var update = flag.Bool("update", false, "write docs/faults.md from the tables of numbers")

const (
	faultsDocument = "../../docs/faults.md"
	decisions      = "../../docs/decisions"
	reasonsSource  = "../../agent/fault/fault.go"
)

// sources says where the numbers of a reason come from. "Ours" is a choice that docs/decisions/0001-fault-numbers.md explains.
var sources = map[fault.Reason]string{
	fault.Internal:                    "TR-069 A.4.2.3, unknown reason (9002 is not allowed in a result); TR-181 7002; TR-369 7003",
	fault.RequestDenied:               "TR-069 A.4.2.3; TR-181 7002",
	fault.InvalidArguments:            "TR-069 A.4.1.10; TR-181 7004; TR-369 R-OPR.5 for 7027",
	fault.NotSupported:                "ours",
	fault.Canceled:                    "TR-369 7023; the rest ours",
	fault.TooManyOperations:           "TR-069 A.4.1.10 for 9004; TR-369 7005; the rest ours",
	fault.DeadlineExceeded:            "ours: the budgets are in TR-069 A.4.1.10 and TR-369 R-SMM.1, the number is not",
	fault.TransferServerUnreachable:   "TR-069 Table 87, by its name; TR-181 7033",
	fault.TransferInsecure:            "ours for CWMP; TR-181 7034",
	fault.TransferFileUnavailable:     "TR-069 Table 87, by its name; ours for USP",
	fault.TransferAuthentication:      "TR-069 Table 87, by its name; ours for USP",
	fault.TransferProtocolUnsupported: "TR-069 Table 87, by its name; ours for USP",
	fault.TransferIncomplete:          "TR-069 Table 87, by its name; ours for USP",
	fault.PackageCorrupt:              "TR-069 Table 87, VI.5.1.1; TR-181 7035",
	fault.PackageUntrusted:            "TR-069 VI.5.1.1, named together with corrupt; TR-181 7036",
	fault.InvalidUUID:                 "TR-069 Table 87, by its name; ours for USP (7222 is defined nowhere)",
	fault.UnknownExecEnv:              "TR-069 A.4.2.3, Install only; TR-181 7223; TR-369 7016",
	fault.DisabledExecEnv:             "TR-069 Table 87, VI.5.2; TR-369 I.3; ours for Operate",
	fault.ExecEnvUnavailable:          "ours",
	fault.DUExecEnvMismatch:           "TR-069 A.4.2.3; TR-181 7225",
	fault.DuplicateDU:                 "TR-069 A.4.2.3; TR-181 7226",
	fault.SystemResourcesExceeded:     "TR-069 A.4.2.3; TR-181 7227; TR-369 7005",
	fault.UnknownDU:                   "TR-069 A.4.2.3, VI.5.1.3; TR-369 7016; ours for the event",
	fault.InvalidDUState:              "TR-069 A.4.2.3, A.3.2.1; TR-181 7229",
	fault.DowngradeNotPermitted:       "TR-069 Table 87, VI.5.1.2; ours for USP",
	fault.VersionNotSpecified:         "TR-069 Table 87, VI.5.1.2; ours for USP, where it cannot occur",
	fault.VersionExists:               "TR-069 Table 87, VI.5.1.2; ours for USP",
	fault.DependencyUnresolved:        "ours: a fault of an execution unit, told as DependencyFailure",
	fault.StartFailed:                 "ours: a fault of an execution unit, told as FailureOnStart",
	fault.StopFailed:                  "ours: a fault of an execution unit, told as FailureOnStop",
	fault.LimitInUse:                  "TR-181, USP, ModifyConstraints(); ours for CWMP, where it cannot occur",
	fault.UnsupportedArgument:         "ours: TR-369 names no number for an argument that is known and cannot be honored",
	fault.VolumeInUse:                 "TR-369 I.3.2; ours for CWMP, where it cannot occur",
}

// meanings reads what the source says next to each reason, so that it is written once.
func meanings(t *testing.T) map[fault.Reason]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), reasonsSource, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[fault.Reason]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Comment == nil {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[fault.Reason(text)] = strings.TrimSpace(spec.Comment.Text())
		return true
	})
	return found
}

func document(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Faults

The agent has a word of its own for everything that can go wrong. It is the last part of a D-Bus error's name (` + "`org.smmd.Error.DisabledExecEnv`" + `) and
the ` + "`FaultName`" + ` of a job. CWMP and USP have numbers, and which number depends on where the fault is told:

| column | told in |
|---|---|
| CWMP result | the FaultStruct of one operation in DUStateChangeComplete and AutonomousDUStateChangeComplete |
| CWMP RPC | the SOAP fault that refuses a whole ChangeDUState, or a SetParameterValues for a reason that is no matter of one value |
| CWMP parameter | one SetParameterValuesFault inside a SOAP fault 9003; a dash: the RPC is refused as a whole |
| USP event | Fault.FaultCode of DUStateChange! |
| USP Operate | the answer to the Operate message |
| USP complete | the OperationComplete notification |

Besides these, SetParameterValues answers 9006 to a wrong type and 9008 to a parameter that cannot be written, GetParameterNames and
GetParameterValues answer 9005 to a name that is not there, and so do AddObject and DeleteObject to every name. Operate answers 7027 when a mandatory
argument is missing and 7004 to one that is not supported.

"Ours" is a choice where the sources leave the number open: [decision 1](decisions/0001-fault-numbers.md) gives the reasons.

| fault | D-Bus name | when | CWMP result | CWMP RPC | CWMP parameter | USP event | USP Operate | USP complete | source |
|---|---|---|---|---|---|---|---|---|---|
`)
	when := meanings(t)
	for _, r := range fault.Reasons() {
		if when[r] == "" || sources[r] == "" {
			t.Errorf("%s lacks its meaning (%q) or its source (%q)", r, when[r], sources[r])
		}
		parameter := strconv.FormatUint(uint64(ParameterCode(r)), 10)
		if concernsRequest(r) {
			parameter = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %s | %d | %d | %d | %s |\n", r, r.Name(), when[r],
			DUResult(r), RPC(r), parameter, usp.Event(r), usp.Operate(r), usp.OperationComplete(r), sources[r])
	}
	b.WriteString("\n## Where the sources disagree\n\n| about | who says what | decided | why |\n|---|---|---|---|\n")
	for _, d := range disagreements {
		if _, err := os.Stat(filepath.Join(decisions, d.page)); err != nil {
			t.Errorf("the page about %s: %v", d.topic, err)
		}
		number, _, _ := strings.Cut(strings.TrimLeft(d.page, "0"), "-")
		fmt.Fprintf(&b, "| %s | %s | %s | [decision %s](decisions/%s) |\n", d.topic, d.sources, d.decided, number, d.page)
	}
	b.WriteString("\nThis page is made from the code: `go generate ./mapping/cwmp` writes it, and a test says when it is out of date.\n")
	return b.String()
}

func TestFaultsDocument(t *testing.T) {
	want := document(t)
	if *update {
		if err := os.WriteFile(faultsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(faultsDocument)
	if err != nil || string(got) != want {
		t.Errorf("%s is not up to date (%v): go generate ./mapping/cwmp", faultsDocument, err)
	}
	if len(sources) != len(fault.Reasons()) {
		t.Errorf("%d sources for %d reasons", len(sources), len(fault.Reasons()))
	}
}
