package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

const ifaceUSP = "org.smmd.USP1"

// A USPError is a code of TR-369 with its text. Code 0 is a success.
type USPError struct {
	Code uint32 `json:"err_code"`
	Text string `json:"err_msg"`
}

// A USPParamError is what is wrong with one parameter or row. Path is relative to the object where there is one.
type USPParamError struct {
	Path string `json:"param"`
	Code uint32 `json:"err_code"`
	Text string `json:"err_msg"`
}

// A USPObject is an object with parameters by their relative names: their values (Get), or its unique keys (GetInstances).
type USPObject struct {
	Path       string            `json:"path"` // with instance numbers and a dot at its end
	Parameters map[string]string `json:"parameters"`
}

// A USPGetResult is the answer to one path of Get or GetInstances.
type USPGetResult struct {
	Requested string      `json:"requested_path"`
	Objects   []USPObject `json:"objects"`
	USPError
}

// USPGet reads parameters (TR-369, Get). maxDepth 0 is the whole tree. One path that does not exist does not fail the others.
func (c *Client) USPGet(ctx context.Context, maxDepth uint32, paths ...string) ([]USPGetResult, error) {
	return c.uspObjects(ctx, "cannot get values", "Get", nonNil(paths), maxDepth)
}

// USPGetInstances lists rows with their unique keys (TR-369, GetInstances).
func (c *Client) USPGetInstances(ctx context.Context, firstLevelOnly bool, paths ...string) ([]USPGetResult, error) {
	return c.uspObjects(ctx, "cannot list instances", "GetInstances", nonNil(paths), firstLevelOnly)
}

func (c *Client) uspObjects(ctx context.Context, what, method string, args ...any) ([]USPGetResult, error) {
	var rows []struct {
		Requested string
		Objects   []USPObject
		Code      uint32
		Text      string
	}
	if _, err := c.call(ctx, what, Root, ifaceUSP+"."+method, args, &rows); err != nil {
		return nil, err
	}
	results := make([]USPGetResult, len(rows))
	for i, r := range rows {
		results[i] = USPGetResult{r.Requested, r.Objects, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// A USPSetting is one parameter of an object that is to be set. The object fails with it when it is Required.
type USPSetting struct {
	Parameter string // relative to the object
	Value     string
	Required  bool
}

// A USPUpdate is an object, or a search path for several, with what to set in it.
type USPUpdate struct {
	Path     string
	Settings []USPSetting
}

// A USPUpdated is what became of one object that an update stands for.
type USPUpdated struct {
	Path    string            // the affected path
	Updated map[string]string // value after the update by relative name; empty when the update failed
	Errors  []USPParamError
}

// A USPSetResult is the answer to one [USPUpdate]. With a code other than 0 nothing of it was applied; Objects are those that failed.
type USPSetResult struct {
	Requested string
	Objects   []USPUpdated
	USPError
}

// USPSet writes parameters (TR-369, Set). Where TR-369 wants an Error message, the error is an [*Error]: its USP is the code of that
// message and [Error.USPParameters] its param_errs.
func (c *Client) USPSet(ctx context.Context, allowPartial bool, updates ...USPUpdate) ([]USPSetResult, error) {
	var rows []struct {
		Requested string
		Objects   []USPUpdated
		Code      uint32
		Text      string
	}
	if _, err := c.call(ctx, "cannot set values", Root, ifaceUSP+".Set", []any{sendable(updates), allowPartial}, &rows); err != nil {
		return nil, err
	}
	results := make([]USPSetResult, len(rows))
	for i, r := range rows {
		results[i] = USPSetResult{r.Requested, r.Objects, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// A USPAddResult is the answer to one object of Add.
type USPAddResult struct {
	Requested  string
	Path       string // of the new row; empty when it was not created
	UniqueKeys map[string]string
	Errors     []USPParamError // parameters that could not be set
	USPError
}

// USPAdd creates rows (TR-369, Add). Errors are as those of [Client.USPSet].
func (c *Client) USPAdd(ctx context.Context, allowPartial bool, objects ...USPUpdate) ([]USPAddResult, error) {
	var rows []struct {
		Requested, Path string
		UniqueKeys      map[string]string
		Errors          []USPParamError
		Code            uint32
		Text            string
	}
	if _, err := c.call(ctx, "cannot add objects", Root, ifaceUSP+".Add", []any{sendable(objects), allowPartial}, &rows); err != nil {
		return nil, err
	}
	results := make([]USPAddResult, len(rows))
	for i, r := range rows {
		results[i] = USPAddResult{r.Requested, r.Path, r.UniqueKeys, r.Errors, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// A USPDeleteResult is the answer to one path of Delete.
type USPDeleteResult struct {
	Requested  string
	Affected   []string        // rows that were deleted
	Unaffected []USPParamError // rows that could not be
	USPError
}

// USPDelete deletes rows (TR-369, Delete). Errors are as those of [Client.USPSet].
func (c *Client) USPDelete(ctx context.Context, allowPartial bool, paths ...string) ([]USPDeleteResult, error) {
	var rows []struct {
		Requested  string
		Affected   []string
		Unaffected []USPParamError
		Code       uint32
		Text       string
	}
	if _, err := c.call(ctx, "cannot delete objects", Root, ifaceUSP+".Delete", []any{nonNil(paths), allowPartial}, &rows); err != nil {
		return nil, err
	}
	results := make([]USPDeleteResult, len(rows))
	for i, r := range rows {
		results[i] = USPDeleteResult{r.Requested, r.Affected, r.Unaffected, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// USPSupportedOptions choose what GetSupportedDM tells of each object.
type USPSupportedOptions struct {
	FirstLevelOnly bool
	Commands       bool
	Events         bool
	Params         bool
	UniqueKeySets  bool
}

// A USPSupportedParam is a parameter of the supported data model. Access, Type and ValueChange are names of TR-369's enumerations, for example
// PARAM_READ_WRITE, PARAM_UNSIGNED_INT, VALUE_CHANGE_ALLOWED.
type USPSupportedParam struct{ Name, Access, Type, ValueChange string }

// A USPSupportedCommand is a command of the supported data model. Kind is CMD_SYNC or CMD_ASYNC.
type USPSupportedCommand struct {
	Name, Kind      string
	Inputs, Outputs []string
}

// A USPSupportedEvent is an event of the supported data model.
type USPSupportedEvent struct {
	Name      string
	Arguments []string
}

// A USPSupportedObject is an object of the supported data model. Access is a name of TR-369's enumeration, for example OBJ_READ_ONLY.
type USPSupportedObject struct {
	Path          string // with {i} for instances
	MultiInstance bool
	Access        string
	Params        []USPSupportedParam
	Commands      []USPSupportedCommand
	Events        []USPSupportedEvent
	UniqueKeySets [][]string
}

// A USPSupportedResult is the answer to one path of GetSupportedDM.
type USPSupportedResult struct {
	Requested    string
	DataModelURI string
	Objects      []USPSupportedObject
	USPError
}

// USPGetSupportedDM tells the supported data model (TR-369, GetSupportedDM).
func (c *Client) USPGetSupportedDM(ctx context.Context, o USPSupportedOptions, paths ...string) ([]USPSupportedResult, error) {
	opts := options{}
	for key, on := range map[string]bool{
		"first_level_only": o.FirstLevelOnly, "return_commands": o.Commands, "return_events": o.Events,
		"return_params": o.Params, "return_unique_key_sets": o.UniqueKeySets,
	} {
		if on {
			opts.put(key, true)
		}
	}
	var rows []struct {
		Requested, DataModelURI string
		Objects                 []USPSupportedObject
		Code                    uint32
		Text                    string
	}
	if _, err := c.call(ctx, "cannot tell the data model", Root, ifaceUSP+".GetSupportedDM", []any{nonNil(paths), opts}, &rows); err != nil {
		return nil, err
	}
	results := make([]USPSupportedResult, len(rows))
	for i, r := range rows {
		results[i] = USPSupportedResult{r.Requested, r.DataModelURI, r.Objects, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// A USPOperateResult is one execution of a command. There is either a Job, or Outputs, or a code other than 0.
type USPOperateResult struct {
	Command string          // as it was executed: with instance numbers
	Job     dbus.ObjectPath // empty: it has ended. Its number is that of the Request.
	Outputs map[string]string
	USPError
}

// USPOperate executes a command (TR-369, Operate). originator is the endpoint identifier of the controller; "" is the caller itself.
// The error is for a command that names nothing: its USP is the code of the Error message.
func (c *Client) USPOperate(ctx context.Context, command, commandKey string, input map[string]string, originator string) ([]USPOperateResult, error) {
	opts := options{}
	opts.put("originator", originator)
	if input == nil {
		input = map[string]string{}
	}
	var rows []struct {
		Command string
		Job     dbus.ObjectPath
		Outputs map[string]string
		Code    uint32
		Text    string
	}
	if _, err := c.call(ctx, "cannot operate", Root, ifaceUSP+".Operate", []any{command, commandKey, input, opts}, &rows); err != nil {
		return nil, err
	}
	results := make([]USPOperateResult, len(rows))
	for i, r := range rows {
		job, _ := asPath(r.Job)
		results[i] = USPOperateResult{r.Command, job, r.Outputs, USPError{r.Code, r.Text}}
	}
	return results, nil
}

// The kinds of a [USPNotification].
const (
	USPEvent             = "Event"
	USPOperationComplete = "OperationComplete"
	USPValueChange       = "ValueChange"
	USPObjectCreation    = "ObjectCreation"
	USPObjectDeletion    = "ObjectDeletion"
)

// A USPNotification is something that subscribed controllers are to be told. Which fields a Kind has is said with them; the others are
// empty.
type USPNotification struct {
	ID   uint64
	Kind string

	Object     string            // Event, OperationComplete, ObjectCreation, ObjectDeletion: path, with a dot at its end
	Event      string            // Event: DUStateChange!, Restarted!
	Arguments  map[string]string // Event
	Command    string            // OperationComplete: InstallDU()
	CommandKey string            // OperationComplete
	Originator string            // OperationComplete
	Job        dbus.ObjectPath   // OperationComplete
	Outputs    map[string]string // OperationComplete that succeeded
	USPError                     // OperationComplete; code 0: it succeeded
	Parameter  string            // ValueChange: path
	Value      string            // ValueChange
	UniqueKeys map[string]string // ObjectCreation
}

// USPNotifications returns the notifications with a number above after, in the order of their numbers.
func (c *Client) USPNotifications(ctx context.Context, after uint64) ([]USPNotification, error) {
	const what = "cannot read the notifications"
	var rows []struct {
		ID     uint64
		Kind   string
		Fields map[string]dbus.Variant
	}
	if _, err := c.call(ctx, what, Root, ifaceUSP+".Notifications", []any{after}, &rows); err != nil {
		return nil, err
	}
	list := make([]USPNotification, len(rows))
	for i, r := range rows {
		n := USPNotification{ID: r.ID, Kind: r.Kind}
		for key, dst := range map[string]any{
			"obj_path": &n.Object, "event_name": &n.Event, "params": &n.Arguments, "command_name": &n.Command, "command_key": &n.CommandKey,
			"originator": &n.Originator, "job": &n.Job, "output_args": &n.Outputs, "err_code": &n.Code, "err_msg": &n.Text,
			"param_path": &n.Parameter, "param_value": &n.Value, "unique_keys": &n.UniqueKeys,
		} {
			if v, ok := r.Fields[key]; ok {
				if err := v.Store(dst); err != nil {
					return nil, fmt.Errorf("%s: %d: %s: %w", what, r.ID, key, err)
				}
			}
		}
		list[i] = n
	}
	return list, nil
}

// USPAcknowledgeNotifications makes the agent forget every notification up to that number.
func (c *Client) USPAcknowledgeNotifications(ctx context.Context, upTo uint64) error {
	_, err := c.call(ctx, "cannot acknowledge the notifications", Root, ifaceUSP+".AcknowledgeNotifications", []any{upTo})
	return err
}

// A USPRequest is a command that goes on.
type USPRequest struct {
	Job        dbus.ObjectPath
	Command    string // as it was executed: Device.SoftwareModules.InstallDU()
	CommandKey string
	Originator string
	Status     string // Requested, Active or Canceling
	Started    string // dateTime
}

// USPRequests returns the commands that go on.
func (c *Client) USPRequests(ctx context.Context) ([]USPRequest, error) {
	var list []USPRequest
	_, err := c.call(ctx, "cannot list the requests", Root, ifaceUSP+".Requests", nil, &list)
	return list, err
}

// WatchUSPNotifications calls f with the greatest number of a notification whenever there are new ones, and with 0 whenever some may have
// come unseen: at the beginning, and each time that an agent appears on the bus. It returns when ctx is done, f returns an error, or the bus
// is lost; that error it returns. f runs in the caller's goroutine; what happens meanwhile waits.
func (c *Client) WatchUSPNotifications(ctx context.Context, f func(id uint64) error) error {
	s, err := c.subscribe(ctx, Root)
	if err != nil {
		return err
	}
	defer s.close()
	if err := f(0); err != nil {
		return err
	}
	for {
		owner := s.owner
		sig, err := s.next(ctx)
		switch {
		case err != nil:
			return err
		case s.owner != owner:
			if s.owner == "" {
				continue
			}
			err = f(0)
		case sig != nil && sig.Name == ifaceUSP+".Notification":
			var id uint64
			if dbus.Store(sig.Body, &id) == nil {
				err = f(id)
			}
		}
		if err != nil {
			return err
		}
	}
}

// USPParameters returns the param_errs of a refused Set, Add or Delete: parameters and objects by their whole path; nil when the agent told none.
func (e *Error) USPParameters() []USPParamError {
	var list []USPParamError
	for _, p := range e.Parameters() {
		list = append(list, USPParamError{p.Path, p.CWMP, p.Message})
	}
	return list
}

// wireUpdate is one element of a(sa(ssb)).
type wireUpdate struct {
	Path     string
	Settings []USPSetting
}

// sendable makes updates fit for the wire, where no list may be missing.
func sendable(updates []USPUpdate) []wireUpdate {
	list := make([]wireUpdate, len(updates))
	for i, u := range updates {
		list[i] = wireUpdate{u.Path, nonNil(u.Settings)}
	}
	return list
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
