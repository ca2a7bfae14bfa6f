package cwmp

// A disagreement is a point where the sources contradict each other or themselves, with what the agent does.
type disagreement struct{ topic, sources, decided, page string }

// The pages that say why.
const (
	numbersPage    = "0001-fault-numbers.md"
	versionsPage   = "0010-versions-of-the-data-model.md"
	rowPage        = "0011-usp-works-on-one-row.md"
	argumentsPage  = "0012-arguments-that-are-not-supported.md"
	referencesPage = "0013-references-and-uuids.md"
	statesPage     = "0014-states-times-and-baselines.md"
	restartsPage   = "0015-automatic-restarts.md"
)

var disagreements = []disagreement{
	{"what TR-369 has for a start on a disabled environment", "7012 in I.4.2; 7012 is not among the codes of Operate", "7022 at Operate, 7012 in the event", numbersPage},
	{"a disabled environment in `DUStateChange!`", "\"Invalid value\" in TR-369 I.3; no such entry in TR-181", "7012", statesPage},
	{"a Restart() while Stopping", "\"rejected with a fault\" in TR-181; \"may be rejected\" with 7230 in TR-369 I.2.2; 7230 is defined nowhere", "refused, 7022", statesPage},
	{"a Restart() while Idle", "TR-181 starts the unit; a figure of TR-369 goes to Restarting", "it starts", statesPage},
	{"codes of a failed command", "7223 to 7229 and 7032 to 7036 are those of the event; OperationComplete has a list without them", "each within its list, so they differ", numbersPage},
	{"exceeded resources in USP", "\"described above\" in TR-369 I.4, where nothing is; 7227 in TR-181", "7227 in the event, 7005 at Operate and completion", numbersPage},
	{"an internal error in a CWMP result", "9002 in TR-069 A.5; not among the codes of a result", "9001", numbersPage},
	{"an unknown environment in an Uninstall", "9023 is for Install alone; the field can name one", "9028", numbersPage},
	{"a wrong signature in CWMP", "9019 in TR-069 A.5; not among the codes of a result", "9018", numbersPage},
	{"the fault of a package of another kind", "TR-069: Install and Update; TR-181: Install", "9025 and 7225 for both", statesPage},
	{"how many faults an Uninstall has", "three are announced in TR-069 VI.5.1.3, four listed", "four", statesPage},
	{"uninstalling a unit that made an environment", "refused for units or child environments in TR-069 A.4.2.3, for units alone in VI.5.1.3", "cannot occur: no unit makes an environment", statesPage},
	{"which UUIDs are well-formed", "version 3 in TR-069 VI.5, version 5 in VI.3.1.1, TR-181 and TR-369", "any 8-4-4-4-12 digits", referencesPage},
	{"an empty UUID", "allowed by TR-069 Table 71, not by its schema", "the same as none", referencesPage},
	{"the UUID in the result when that of the request was malformed", "has to be told (TR-069 VI.5.1); the schema has no place for it", "empty; 9022 with a message", referencesPage},
	{"dots at the end of references", "everywhere in the RPCs (TR-069 Tables 71, 73, 80); not in the schema's examples, nor in values and USP", "RPCs with, all else without; both are taken", referencesPage},
	{"the name of the state of a removed unit", "Uninstalled in CWMP and TR-181 2.19, UnInstalled in USP 2.12 to 2.18", "as the version has it", versionsPage},
	{"fault numbers of the event by version", "7033 to 7036 came with 2.16", "the same in 2.15", versionsPage},
	{"Alias in USP", "to be written up to 2.16, writeOnceReadOnly since 2.18", "to be written in 2.15 alone", versionsPage},
	{"parameters of 2.16 and later in CWMP", "some can be written by the shared file; CWMP can only view them by its own", "to be read only", versionsPage},
	{"the reach of an Update in USP", "all environments in TR-369 I.3; one row in TR-181", "one row", rowPage},
	{"Version, ExecutionEnvRef and UUID of Update() and Uninstall()", "in TR-369 I.3 and I.4; not among the arguments in TR-181", "ignored, as what is unknown", rowPage},
	{"the environment in InstallDU()", "ExecEnvRef in TR-369; ExecutionEnvRef in TR-181, and ExecEnvRef among its outputs", "as TR-181", rowPage},
	{"an argument that is known and not supported", "nothing is said", "7004", argumentsPage},
	{"trying a start again", "TR-069 VI.5.2 forbids it for one that was asked for; AutoRestart of TR-181 wants it", "only what ended while it was Active, by its AutoRestart", restartsPage},
	{"StartTime", "of the operation in TR-069; of the transfer in TR-181", "each in its protocol", statesPage},
	{"what a Reset goes back to", "the last `0 BOOTSTRAP` in CWMP; the last Boot! after a factory reset in USP", "two baselines", statesPage},
}
