package changes_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// programPath is the path of the program, built for all tests or once for those of this package.
var programPath = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("MATCHRELAY_TEST_PROGRAM"); path != "" {
		return path, nil
	}
	path := filepath.Join(programFolder, "matchrelay")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/matchrelay").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// programFolder is where the program is built, removed when the tests end.
var programFolder = filepath.Join(os.TempDir(), fmt.Sprint("matchrelay-changes-", os.Getpid()))
