import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;

/** Validates files by the profiles in folders: one line each, then a line for each error. */
public class Validate {
  /** R4's own definitions, also where a profile names their version. */
  static class VersionedR4 extends DefaultProfileValidationSupport {
    VersionedR4(FhirContext context) {
      super(context);
    }

    @Override
    public IBaseResource fetchStructureDefinition(String url) {
      return super.fetchStructureDefinition(url.replaceFirst("[|]4[.]0[.]1$", ""));
    }

    @Override
    public IBaseResource fetchValueSet(String url) {
      return super.fetchValueSet(url.replaceFirst("[|]4[.]0[.]1$", ""));
    }
  }

  public static void main(String[] arguments) throws Exception {
    FhirContext context = FhirContext.forR4();
    var profiles = new PrePopulatedValidationSupport(context);
    List<Path> documents = new ArrayList<>();
    for (String argument : arguments) {
      if (!Files.isDirectory(Path.of(argument))) {
        documents.add(Path.of(argument));
        continue;
      }
      try (var files = Files.list(Path.of(argument))) {
        for (Path file : (Iterable<Path>) files.sorted()::iterator) {
          if (file.getFileName().toString().matches("(StructureDefinition|ValueSet|CodeSystem)-.*[.]json")) {
            profiles.addResource(context.newJsonParser().parseResource(Files.readString(file)));
          }
        }
      }
    }
    var validator = context.newValidator();
    validator.registerValidatorModule(
        new FhirInstanceValidator(
            new ValidationSupportChain(
                profiles,
                new VersionedR4(context),
                new SnapshotGeneratingValidationSupport(context),
                new CommonCodeSystemsTerminologyService(context),
                new InMemoryTerminologyServerValidationSupport(context),
                new UnknownCodeSystemWarningValidationSupport(context))));
    for (Path document : documents) {
      var result = validator.validateWithResult(Files.readString(document));
      System.out.println("FILE " + document + " " + (result.isSuccessful() ? "valid" : "faulty"));
      for (var message : result.getMessages()) {
        if (message.getSeverity().compareTo(ResultSeverityEnum.ERROR) >= 0) {
          System.out.println(message.getLocationString() + ": " + message.getMessage());
        }
      }
    }
  }
}
