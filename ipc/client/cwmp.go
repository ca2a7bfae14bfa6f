package client

import "context"

// A Parameter is a parameter of the data model with its value.
type Parameter struct {
	Path  string `json:"path"`  // Device.SoftwareModules.ExecEnv.1.Status
	Type  string `json:"type"`  // xsd:string, xsd:boolean …
	Value string `json:"value"` // in the lexical form of the type
}

// A Name is a path that exists in the data model.
type Name struct {
	Path     string `json:"path"` // of an object, with its dot at the end, or of a parameter
	Writable bool   `json:"writable"`
}

// GetParameterValues reads parameters. A path that ends with a dot stands for everything below; one path that does not exist
// fails the whole call.
func (c *Client) GetParameterValues(ctx context.Context, paths ...string) ([]Parameter, error) {
	var values []Parameter
	_, err := c.call(ctx, "cannot get values", Root, ifaceCWMP+".GetParameterValues", []any{paths}, &values)
	return values, err
}

// GetParameterNames lists what is at a path and below it, with nextLevel only the next level.
func (c *Client) GetParameterNames(ctx context.Context, path string, nextLevel bool) ([]Name, error) {
	var names []Name
	_, err := c.call(ctx, "cannot list names", Root, ifaceCWMP+".GetParameterNames", []any{path, nextLevel}, &names)
	return names, err
}

// SetParameterValues writes parameters, all or none. It reports whether some of them are accepted but still on their way:
// Enable, Reset, InitialExecutionUnitRunLevel, RequestedRunLevel, RequestedState, AutoStart, RunLevel. An empty Type is sent as it is.
func (c *Client) SetParameterValues(ctx context.Context, values ...Parameter) (moving bool, err error) {
	var status int32
	_, err = c.call(ctx, "cannot set values", Root, ifaceCWMP+".SetParameterValues", []any{values, options{}}, &status)
	return status == 1, err
}
