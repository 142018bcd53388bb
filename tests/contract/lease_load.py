"""A process that leases again and again and says each token it got: ``lease_load URL FOLDER SYSTEM HOLDER ROUNDS``."""

import os
import sys
from pathlib import Path

from supervisors.state.leases import Grant, open_lease_store


def main(url: str, folder: str, system: str, holder: str, rounds: str = "0") -> None:
    store = open_lease_store(url, Path(folder), system=system)
    done = 0
    os.write(1, b"ready\n")
    sys.stdin.readline()
    while not int(rounds) or done < int(rounds):
        row = store.read("/a")
        grant = store.acquire("/a", f"{holder}-{done}", 60.0, proved_dead=row.holder if row else "")
        if isinstance(grant, Grant):
            os.write(1, b"%d\n" % grant.token)
            if store.renew("/a", grant.holder, grant.token, 60.0) and done % 3 == 0:
                store.release("/a", grant.holder, grant.token)
            done += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
