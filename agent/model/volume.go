package model

// A Volume is a row of ExecEnv.{i}.ApplicationData.: a directory in which the execution units of a deployment unit keep data. It belongs to a UUID on an environment, not to
// one version of the unit, and may be there while the unit is not.
//
// It is compared with ==. What changes outside of a plan is also named in Record, and what is not stored in of (package volume).
type Volume struct {
	ID          RowID  `json:"id"` // also the instance number, one for all environments
	Alias       string `json:"alias"`
	Env         string `json:"env"`       // ID of its environment
	UUID        string `json:"uuid"`      // ApplicationUUID
	Name        string `json:"name"`      // different from those of the other volumes of the UUID on the environment
	Capacity    int64  `json:"capacity"`  // MiB that the controller asked for
	Encrypted   bool   `json:"encrypted"` // it is on an encrypted medium
	Retain      Retain `json:"retain"`
	AccessPath  string `json:"access_path"` // where execution units find it
	Utilization int64  `json:"-"`           // MiB that are stored in it, as it was measured last
}

// Retain says how long the content of a volume stays (TR-181, ApplicationData.{i}.Retain).
type Retain string

// The values of Retain.
const (
	UntilStopped Retain = "UntilStopped" // until all execution units of the deployment unit are stopped
	Forever      Retain = "Forever"      // over stops, restarts and reboots, and over Update() and Uninstall() with RetainData
)

// A VolumeRequest is a volume that is asked for (TR-181, InstallDU() and Update(), ApplicationData.{i}.).
type VolumeRequest struct {
	Name       string `json:"name"`      // 1 to MaxVolumeName characters
	Capacity   int64  `json:"capacity"`  // MiB, 1..MaxCapacity
	Encrypted  bool   `json:"encrypted"` // it is to be on an encrypted medium; false: it may be
	Retain     Retain `json:"retain"`
	AccessPath string `json:"access_path"` // absolute and clean; at most MaxAccessPath characters
}

// The bounds of a [VolumeRequest] (TR-181), and how many of them a deployment unit may have.
const (
	MaxVolumeName = 64
	MaxAccessPath = 256
	MaxCapacity   = 1<<32 - 1
	MaxVolumes    = 16
)
