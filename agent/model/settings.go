package model

// Limits bound what an execution unit, or a whole environment, uses at most (TR-181, Resources, ModifyConstraints()); 0 where there is none.
type Limits struct {
	Disk   int64 `json:"disk,omitempty"`   // KiB
	Memory int64 `json:"memory,omitempty"` // KiB
	CPU    int   `json:"cpu,omitempty"`    // percent: of the environment for an execution unit, of the device for an environment; 1..100
}

// A Variable is a row of ExecutionUnit.{i}.EnvVariable.: every execution unit of a deployment unit has the same ones.
type Variable struct {
	Number uint32 `json:"number"` // its instance number, given once in the life of the deployment unit
	Key    string `json:"key"`    // neither empty nor with an equals sign or a zero byte; at most MaxVariable characters, as Value
	Value  string `json:"value"`
}

// MaxVariable is the greatest length of a key or a value of a [Variable] in characters (TR-181).
const MaxVariable = 2048

// MaxVariables is how many variables a deployment unit may have.
const MaxVariables = 128

// UnitSettings are what a controller gave to the execution units of a deployment unit by InstallDU() and Update().
type UnitSettings struct {
	Variables []Variable `json:"variables,omitempty"` // in the order of their numbers
	// LastVariable is the greatest Number that was ever given.
	LastVariable uint32 `json:"last_variable,omitempty"`
	Limits       Limits `json:"limits,omitzero"` // of each execution unit
}

// IsZero reports whether nothing has ever been set.
func (s UnitSettings) IsZero() bool {
	return len(s.Variables) == 0 && s.LastVariable == 0 && s.Limits == Limits{}
}

// A VariableRequest is a variable that is asked for.
type VariableRequest struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// A LimitsRequest is what is asked for of [Limits]: nil stays as it is, 0 takes the limit away.
type LimitsRequest struct {
	Disk   *int64 `json:"disk,omitempty"`
	Memory *int64 `json:"memory,omitempty"`
	CPU    *int   `json:"cpu,omitempty"`
}

// ConstrainRequest asks for other limits of an environment (TR-181, ModifyConstraints()).
type ConstrainRequest struct {
	Instance   uint32 // of the environment
	Limits     LimitsRequest
	Force      bool // also below what it uses now
	Originator Origin
}
