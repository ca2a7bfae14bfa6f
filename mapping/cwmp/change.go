package cwmp

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// Agent is what the face needs of the agent.
type Agent interface {
	softwaremodules.Agent
	// ChangeDUState accepts all operations, durably, or refuses the whole: too-many-operations when there are more than it takes. It returns the
	// number of the request.
	ChangeDUState(ctx context.Context, r model.ChangeRequest) (uint64, error)
	// AcknowledgeReport forgets a report that is delivered; invalid-arguments when there is none with that number.
	AcknowledgeReport(ctx context.Context, id uint64) error
	// SetAttributes keeps the notification attributes of parameters by their paths with instance numbers, all or none.
	SetAttributes(ctx context.Context, attributes map[string]int) error
}

// MaxCommandKey is the greatest length of a CommandKey in characters (TR-069 A.4.1.10).
const MaxCommandKey = 32

// An Operation is one element of ChangeDUState's Operations (TR-069 A.4.1.10): an InstallOpStruct, UpdateOpStruct or UninstallOpStruct without
// those two words. A field that is empty counts as left out.
type Operation struct {
	Kind   string // Install, Update or Uninstall
	Fields map[string]string
}

// A field is what a structure has of one name, and its greatest length in characters.
type field struct {
	into   func(*model.UnitOperation) *string
	length int
}

var (
	fieldURL      = field{func(o *model.UnitOperation) *string { return &o.URL }, 1024}
	fieldUUID     = field{func(o *model.UnitOperation) *string { return &o.UUID }, 36}
	fieldVersion  = field{func(o *model.UnitOperation) *string { return &o.Version }, 32}
	fieldUsername = field{func(o *model.UnitOperation) *string { return &o.Username }, 256}
	fieldPassword = field{func(o *model.UnitOperation) *string { return &o.Password }, 256}
	fieldExecEnv  = field{func(o *model.UnitOperation) *string { return &o.ExecEnv }, 256}
)

// structures is the fields of each kind of operation (TR-069 Tables 71 to 73). There is no environment in an Update.
var structures = map[string]map[string]field{
	string(model.PerformedInstall): {
		"URL": fieldURL, "UUID": fieldUUID, "Username": fieldUsername, "Password": fieldPassword, "ExecutionEnvRef": fieldExecEnv,
	},
	string(model.PerformedUpdate): {
		"UUID": fieldUUID, "Version": fieldVersion, "URL": fieldURL, "Username": fieldUsername, "Password": fieldPassword,
	},
	string(model.PerformedUninstall): {"UUID": fieldUUID, "Version": fieldVersion, "ExecutionEnvRef": fieldExecEnv},
}

// IsOperation reports whether there is such a kind of operation.
func IsOperation(kind string) bool { return structures[kind] != nil }

// IsField reports whether operations of a kind have a field of that name. All fields are strings.
func IsField(kind, name string) bool {
	_, ok := structures[kind][name]
	return ok
}

// ChangeDUState answers the RPC of that name (TR-069 A.4.1.10) and returns the number of the request, which its report has too. The same token again is
// the same request; an empty one is always a new one.
//
// The call is refused as a whole, and nothing is done, with 9001 when it is malformed (no operation, a kind or a field that there is not, a CommandKey that is
// too long), and with what the agent refuses it with: 9002, 9004 for more operations than it takes, or 9000 when CWMP is not in use. What is wrong with the values of one operation is its
// own fault, told in its result: 9003 for a URL that is missing, malformed or holds user information, 9022 for a malformed UUID, 9023 or 9028 for an
// environment that does not exist.
func (f *Face) ChangeDUState(ctx context.Context, operations []Operation, commandKey, token string, originator model.Origin) (uint64, error) {
	if len(operations) == 0 {
		return 0, malformed("cannot change deployment units: there is no operation")
	}
	if utf8.RuneCountInString(commandKey) > MaxCommandKey {
		return 0, malformed("cannot change deployment units: the CommandKey is longer than 32 characters")
	}
	request := model.ChangeRequest{CommandKey: commandKey, Token: token, Originator: originator, Operations: make([]model.UnitOperation, len(operations))}
	snap := f.agent.Snapshot()
	for i, o := range operations {
		var err error
		if request.Operations[i], err = f.unitOperation(snap, o); err != nil {
			return 0, err
		}
	}
	id, err := f.agent.ChangeDUState(ctx, request)
	if err != nil {
		return 0, refusedCall(err)
	}
	return id, nil
}

// refusedCall is the fault of a call that the agent refuses as a whole. What it does not do at all is 9000.
func refusedCall(err error) *Fault {
	r := fault.ReasonOf(err)
	if r == fault.NotSupported {
		return &Fault{Code: MethodNotSupported, Reason: r, Message: err.Error()}
	}
	return &Fault{Code: RPC(r), Reason: r, Message: err.Error()}
}

// malformed refuses a whole call for its arguments.
func malformed(message string) *Fault {
	return &Fault{Code: RPC(fault.InvalidArguments), Reason: fault.InvalidArguments, Message: message}
}

// unitOperation reads one operation. The error says that it is none; what is wrong with its values is its Refused.
func (f *Face) unitOperation(snap *model.Snapshot, o Operation) (model.UnitOperation, error) {
	fields, known := structures[o.Kind]
	if !known {
		return model.UnitOperation{}, malformed("cannot change deployment units: there is no such kind of operation")
	}
	u := model.UnitOperation{Performed: model.Performed(o.Kind)}
	for name, value := range o.Fields {
		field, known := fields[name]
		if !known {
			return model.UnitOperation{}, malformed("cannot change deployment units: an " + o.Kind + " does not have one of the fields")
		}
		*field.into(&u) = value
	}
	for _, check := range []func(*model.UnitOperation) error{
		func(u *model.UnitOperation) error { return checkLengths(fields, u) }, checkURL, checkUUID, checkVersion,
	} {
		if u.Refused = check(&u); u.Refused != nil {
			break
		}
	}
	// The reference becomes an ID also where something else is wrong: the result names the environment.
	if err := f.findExecEnv(snap, &u); u.Refused == nil {
		u.Refused = err
	}
	return u, nil
}

// checkLengths holds the fields against the lengths in the tables. That of a UUID is a matter of its form.
func checkLengths(fields map[string]field, u *model.UnitOperation) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field := fields[name]
		if name != "UUID" && utf8.RuneCountInString(*field.into(u)) > field.length {
			return refuse(fault.InvalidArguments, u, "the %s is longer than %d characters", name, field.length)
		}
	}
	return nil
}

// checkURL judges what can be judged of a URL without the network. Its text is in no message: it may hold a secret.
func checkURL(u *model.UnitOperation) error {
	if u.URL == "" {
		if u.Performed == model.PerformedInstall {
			return refuse(fault.InvalidArguments, u, "there is no URL")
		}
		return nil
	}
	parsed, err := url.Parse(u.URL)
	switch {
	case err != nil || parsed.Scheme == "" || parsed.Opaque != "":
		return refuse(fault.InvalidArguments, u, "the URL is malformed")
	case parsed.User != nil:
		return refuse(fault.InvalidArguments, u, "the URL has user information in it; it goes into Username and Password")
	}
	return nil
}

// checkUUID brings the UUID into its one form. An Uninstall without one has none of the right form.
func checkUUID(u *model.UnitOperation) error {
	if u.UUID == "" && u.Performed != model.PerformedUninstall {
		return nil
	}
	uuid, err := uuidname.Parse(u.UUID)
	if err != nil {
		return err
	}
	u.UUID = uuid
	return nil
}

// checkVersion refuses a version that belongs to no unit: an Update of everything has none (TR-069 Table 72).
func checkVersion(u *model.UnitOperation) error {
	if u.Performed == model.PerformedUpdate && u.UUID == "" && u.URL == "" && u.Version != "" {
		return refuse(fault.InvalidArguments, u, "a Version is given with neither UUID nor URL")
	}
	return nil
}

// findExecEnv replaces the reference to an environment by its ID. It is taken with and without the root object, which XML examples leave out
// together with a dot at the beginning in its place, and with and without the dot at its end.
func (f *Face) findExecEnv(snap *model.Snapshot, u *model.UnitOperation) error {
	if u.ExecEnv == "" {
		return nil
	}
	ref := u.ExecEnv
	u.ExecEnv = ""
	const table = "SoftwareModules.ExecEnv."
	instance, ok := strings.CutPrefix(ref, "Device."+table)
	if !ok {
		instance, ok = strings.CutPrefix(strings.TrimPrefix(ref, "."), table)
	}
	if ok {
		instance = strings.TrimSuffix(instance, ".") + "."
		p, err := dm.ParsePath("Device."+table+instance, dm.CWMP)
		if err == nil && len(p.Segments) == 4 {
			if nodes, err := dm.Resolve(f.root, softwaremodules.NewRow(snap), p, dm.ForGet); err == nil {
				u.ExecEnv = snap.ExecEnv(nodes[0].Row.Ref().Instance).ID
				return nil
			}
		}
	}
	if u.Performed == model.PerformedInstall {
		return refuse(fault.UnknownExecEnv, u, "there is no environment %q", ref)
	}
	// 9023 belongs to Install alone; what is not on an environment that does not exist is not known there (TR-069 VI.5.1.3).
	return refuse(fault.UnknownDU, u, "there is no environment %q", ref)
}

// refuse says why an operation is not attempted.
func refuse(r fault.Reason, u *model.UnitOperation, format string, args ...any) error {
	return fault.Errorf(r, "cannot "+strings.ToLower(string(u.Performed))+": "+format, args...)
}
