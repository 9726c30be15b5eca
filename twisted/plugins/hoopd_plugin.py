"""C{twistd hoopd}: a name for L{hoopd.tap}, which is imported only when it is asked for."""

from twisted.application.service import ServiceMaker

hoopd = ServiceMaker("hoopd", "hoopd.tap", "Access gateway between identities and infrastructure", "hoopd")
