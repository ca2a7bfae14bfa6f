package model

// Origin says who asks for something, for the log and the job, and by which command of USP.
type Origin struct {
	Name string `json:"name"` // free text
	// Command is the command of USP as it was executed, for example Device.SoftwareModules.InstallDU(), and CommandKey the controller's key of
	// it; empty: it was asked for in another way. Its end is then told by an OperationComplete (TR-369, Operate).
	Command    string `json:"command,omitempty"`
	CommandKey string `json:"command_key,omitempty"`
}

// InstallRequest asks for a deployment unit (TR-069 Table 71, TR-181 InstallDU()).
type InstallRequest struct {
	URL       string `json:"url"`
	UUID      string `json:"uuid,omitempty"`     // empty: generated from the package (TR-181 Annex C)
	ExecEnv   string `json:"exec_env,omitempty"` // ID of the environment; empty: the agent chooses
	Username  string `json:"-"`
	Password  string `json:"-"`
	AutoStart *bool  `json:"auto_start,omitempty"` // nil: as the environment is configured
	// ModuleVersion is kept in the row, at most 32 characters.
	ModuleVersion string       `json:"module_version,omitempty"`
	AutoRestart   *AutoRestart `json:"auto_restart,omitempty"` // of its execution units; nil: [DefaultAutoRestart]
	// Variables, Limits and Volumes are for its execution units. What is there of the volumes, because data of an earlier installation was kept, has its content still.
	Variables  []VariableRequest `json:"variables,omitempty"`
	Limits     LimitsRequest     `json:"limits,omitzero"`
	Volumes    []VolumeRequest   `json:"volumes,omitempty"`
	Originator Origin            `json:"originator,omitzero"`
}

// UpdateRequest asks for another version of an installed deployment unit (TR-069 Table 72, TR-181 Update()).
type UpdateRequest struct {
	DU       RowID  `json:"du"`
	URL      string `json:"url,omitempty"` // empty: the last one, with its credentials
	Username string `json:"-"`
	Password string `json:"-"`
	// ModuleVersion is kept in the row, at most 32 characters; nil: what is there stays.
	ModuleVersion *string `json:"module_version,omitempty"`
	// Variables replace those that are there, all of them; nil: they stay.
	Variables []VariableRequest `json:"variables,omitempty"`
	Limits    LimitsRequest     `json:"limits,omitzero"`
	// Volumes are made, or made other with their content; those that are not named stay, unless RetainData is false: then all that were there are lost when
	// the update has succeeded, and those that are named begin empty. RetainData nil: true.
	Volumes    []VolumeRequest `json:"volumes,omitempty"`
	RetainData *bool           `json:"retain_data,omitempty"`
	Originator Origin          `json:"originator,omitzero"`
}

// UninstallRequest asks for the removal of a deployment unit (TR-069 Table 74, TR-181 Uninstall()).
type UninstallRequest struct {
	DU RowID `json:"du"`
	// RetainData keeps the unit's volumes that are [Forever]. All others, and without it all, go with the last version of it on the environment.
	RetainData bool   `json:"retain_data,omitempty"`
	Originator Origin `json:"originator,omitzero"`
}

// Attribute is something of a row that can be set.
type Attribute string

// The attributes, with the type of their value.
const (
	Alias                        Attribute = "Alias"                        // string; all tables
	Enable                       Attribute = "Enable"                       // bool; ExecEnv
	InitialRunLevel              Attribute = "InitialRunLevel"              // int; ExecEnv
	InitialExecutionUnitRunLevel Attribute = "InitialExecutionUnitRunLevel" // int; ExecEnv
	Reset                        Attribute = "Reset"                        // bool, to CWMP's baseline; ExecEnv
	RequestedRunLevel            Attribute = "RequestedRunLevel"            // int; ExecEnv
	AutoStart                    Attribute = "AutoStart"                    // bool; ExecutionUnit
	RunLevel                     Attribute = "RunLevel"                     // int; ExecutionUnit
	RequestedState               Attribute = "RequestedState"               // string, Idle or Active; ExecutionUnit

	AutoRestartEnable     Attribute = "AutoRestart.Enable"                   // bool; ExecutionUnit, as the next six, which are int, 0..2^32-1
	AutoRestartMinimum    Attribute = "AutoRestart.RetryMinimumWaitInterval" // seconds
	AutoRestartMaximum    Attribute = "AutoRestart.RetryMaximumWaitInterval" // seconds
	AutoRestartMultiplier Attribute = "AutoRestart.RetryIntervalMultiplier"  // thousandths
	AutoRestartRetries    Attribute = "AutoRestart.MaximumRetryCount"
	AutoRestartReset      Attribute = "AutoRestart.ResetPeriod" // seconds
	AutoRestartCount      Attribute = "AutoRestart.RetryCount"

	PolicyEnable              Attribute = "Enable"              // bool; DUStateChangeComplPolicy, as the next three
	PolicyOperationTypeFilter Attribute = "OperationTypeFilter" // string, a list
	PolicyResultTypeFilter    Attribute = "ResultTypeFilter"    // string
	PolicyFaultCodeFilter     Attribute = "FaultCodeFilter"     // string, a list of numbers
)

// An Assignment sets one attribute of one row.
type Assignment struct {
	Row       Ref
	Attribute Attribute
	Value     any // string, bool or int, as the Attribute says
}

// A SetError tells which assignments of a set were refused. Nothing of the set was applied.
type SetError struct {
	Faults map[int]error // by index of the assignment; each is classified (package fault)
}

func (e *SetError) Error() string {
	for _, err := range e.Faults {
		if len(e.Faults) == 1 {
			return err.Error()
		}
		break
	}
	return "cannot set: several values are refused"
}
