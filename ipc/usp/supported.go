package usp

import (
	"slices"
	"strings"

	"github.com/smmd-project/smmd/ipc/client"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// getSupportedLocal tells what this package serves itself, as [client.Client.USPGetSupportedDM] does.
func getSupportedLocal(path string, o client.USPSupportedOptions) client.USPSupportedResult {
	result := client.USPSupportedResult{Requested: path}
	p, err := dm.ParsePath(path, dm.Supported)
	if err == nil && len(p.Segments) > 0 {
		var place dm.Place[localRow]
		if place, err = dm.Locate(localModel, p); err == nil {
			result.Objects = supportedObjects(place, o)
			return result
		}
	}
	f := localFailure(err)
	result.USPError = client.USPError{Code: f.code, Text: f.text}
	return result
}

func supportedObjects(place dm.Place[localRow], o client.USPSupportedOptions) []client.USPSupportedObject {
	single := place.Parameter != nil || place.Command != nil || place.Event != nil
	prefix := place.Path[:strings.LastIndexByte(place.Path, '.')+1]
	if place.Table {
		prefix += "{i}."
	}
	var list []client.USPSupportedObject
	var walk func(path string, object *dm.Object[localRow], level int)
	walk = func(path string, object *dm.Object[localRow], level int) {
		one := client.USPSupportedObject{Path: path, MultiInstance: object.Table != nil, Access: "OBJ_READ_ONLY"}
		if object == subscriptionModel {
			one.Access = "OBJ_ADD_DELETE"
		}
		if level == 0 || !o.FirstLevelOnly {
			describe(&one, object, place, single, o)
		}
		list = append(list, one)
		if single || o.FirstLevelOnly && level > 0 {
			return
		}
		for _, child := range object.Objects {
			below := path + child.Name + "."
			if child.Table != nil {
				below += "{i}."
			}
			walk(below, child, level+1)
		}
	}
	walk(prefix, place.Object, 0)
	return list
}

func describe(one *client.USPSupportedObject, object *dm.Object[localRow], place dm.Place[localRow], single bool, o client.USPSupportedOptions) {
	for _, p := range object.Parameters {
		if !o.Params || single && p != place.Parameter {
			continue
		}
		access := "PARAM_READ_ONLY"
		if p.Writable() {
			access = "PARAM_READ_WRITE"
		}
		one.Params = append(one.Params, client.USPSupportedParam{Name: p.Name, Access: access, Type: valueTypes[p.Type], ValueChange: "VALUE_CHANGE_WILL_IGNORE"})
	}
	for _, c := range object.Commands {
		if !o.Commands || single && c != place.Command {
			continue
		}
		one.Commands = append(one.Commands, client.USPSupportedCommand{Name: c.Name, Kind: "CMD_SYNC"})
	}
	if o.UniqueKeySets && !single {
		one.UniqueKeySets = slices.Clone(object.UniqueKeys)
	}
}

// valueTypes are the types of parameters by the words of TR-369.
var valueTypes = map[dm.Type]string{
	dm.String: "PARAM_STRING", dm.Boolean: "PARAM_BOOLEAN", dm.UnsignedInt: "PARAM_UNSIGNED_INT", dm.DateTime: "PARAM_DATE_TIME",
}
