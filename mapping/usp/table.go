package usp

import (
	"fmt"

	"github.com/smmd-project/smmd/agent/fault"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// An AddResult is the answer to one object of Add.
type AddResult struct {
	Requested string
	Status
}

// Add answers the message of that name (TR-369, Add). It always refuses: 7019 for a table, 7018 for what is none. Without allowPartial the
// error is a *[Failure] with the code of the first object.
func (f *Face) Add(objects []Update, allowPartial bool) ([]AddResult, error) {
	results := make([]AddResult, len(objects))
	var wrong []ParameterError
	for i, o := range objects {
		p, at, err := f.locate(o.Path, dm.USP)
		st := Status{NonCreatableObject, fmt.Sprintf("cannot add a row to %s: rows come with InstallDU()", p)}
		switch {
		case err != nil:
			st = status(err, ObjectDoesNotExist)
		case !at.Table:
			st = Status{NotATable, fmt.Sprintf("cannot add a row to %s: it is not a table", p)}
		}
		results[i] = AddResult{o.Path, st}
		wrong = append(wrong, ParameterError{o.Path, st})
	}
	if !allowPartial && len(wrong) > 0 {
		return nil, &Failure{Code: wrong[0].Code, Reason: fault.RequestDenied, Message: summary(wrong), Parameters: wrong}
	}
	return results, nil
}

// A DeleteResult is the answer to one path of Delete. Nothing is ever deleted.
type DeleteResult struct {
	Requested  string
	Unaffected []ParameterError // rows that could not be deleted
	Status
}

// Delete answers the message of that name (TR-369, Delete). It always refuses what exists, with 7024. A row that does not exist is a success
// (R-DEL.2a) unless the message is all or nothing (R-DEL.1); a search that matches nothing always is. Without allowPartial the error is a *[Failure] with the code
// of the first row.
func (f *Face) Delete(paths []string, allowPartial bool) ([]DeleteResult, error) {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	results := make([]DeleteResult, len(paths))
	var wrong []ParameterError
	for i, path := range paths {
		r := &results[i]
		r.Requested = path
		p, at, err := f.locate(path, dm.USP)
		switch {
		case i >= maxPaths:
			r.Status = tooMany
		case err != nil:
			r.Status = status(err, ObjectDoesNotExist)
		case !p.Partial || at.Table || len(at.Path) < 4 || at.Path[len(at.Path)-4:] != "{i}.":
			r.Status = Status{DeleteFailure, fmt.Sprintf("cannot delete %s: it is not a row", p)}
		default:
			nodes, err := dm.Resolve(f.root, row, p, dm.ForGet)
			if err != nil && !allowPartial {
				r.Status = status(err, ObjectDoesNotExist)
			}
			for _, n := range nodes {
				r.Unaffected = append(r.Unaffected, ParameterError{n.Path, Status{DeleteFailure, fmt.Sprintf("cannot delete %s: rows go with Uninstall() or Remove()", n.Path)}})
			}
		}
		if r.Code != 0 {
			wrong = append(wrong, ParameterError{path, r.Status})
		}
		wrong = append(wrong, r.Unaffected...)
	}
	if !allowPartial && len(wrong) > 0 {
		reason := fault.RequestDenied
		if wrong[0].Code != DeleteFailure {
			reason = fault.InvalidArguments
		}
		return nil, &Failure{Code: wrong[0].Code, Reason: reason, Message: summary(wrong), Parameters: wrong}
	}
	return results, nil
}
